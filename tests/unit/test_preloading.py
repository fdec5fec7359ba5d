import gc
import importlib
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from shared.preloading import MODULES, Preloading
from shared.services import Services
from shared.settings import load_settings
from tests.conftest import StandIn

PATIENCE_SECONDS = 30


class Library:
    """Modules that note that they were loaded."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.loaded: list[str] = []

    def add(self, name: str, code: str = "") -> str:
        text = f"import {__name__} as test\ntest.library.loaded.append('{name}')\n{code}\n"
        (self._folder / f"{name}.py").write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        return name


library: Library
preloading: Preloading


@pytest.fixture(autouse=True)
def use_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    global library
    monkeypatch.syspath_prepend(str(tmp_path))
    library = Library(tmp_path)


def test_waiting_instance_loads_everything_in_order() -> None:
    names = [library.add(f"preloaded_waiting_{number}") for number in range(3)]
    waiting = Preloading(names, idle_seconds=0)
    waiting.start()
    waiting.thread.join(PATIENCE_SECONDS)
    assert library.loaded == names


def test_what_was_loaded_is_no_longer_searched_for_garbage() -> None:
    before = gc.get_freeze_count()
    loading = Preloading([library.add("preloaded_for_good")], idle_seconds=0)
    loading.start()
    loading.thread.join(PATIENCE_SECONDS)
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    assert frozen > before


def test_instance_loads_after_its_first_answer_without_waiting_longer() -> None:
    name = library.add("preloaded_after_answer")
    busy = Preloading([name], idle_seconds=threading.TIMEOUT_MAX)
    busy.start()
    busy.enter()
    busy.leave()
    busy.thread.join(PATIENCE_SECONDS)
    assert library.loaded == [name]


def test_nothing_more_is_loaded_while_a_request_is_answered() -> None:
    global preloading
    first = library.add("preloaded_before_request", "test.preloading.enter()")
    second = library.add("preloaded_after_request")
    preloading = Preloading([first, second], idle_seconds=0)
    preloading.start()
    # It would have ended long before.
    preloading.thread.join(1)
    assert (preloading.thread.is_alive(), library.loaded) == (True, [first])
    preloading.leave()
    preloading.thread.join(PATIENCE_SECONDS)
    assert library.loaded == [first, second]


def test_waiting_instance_makes_what_requests_would_make_first() -> None:
    name = library.add("preloaded_for_making")
    make = {each: lambda each=each: library.loaded.append(each) for each in ("first", "second")}
    waiting = Preloading([name], make, idle_seconds=0)
    waiting.start()
    waiting.thread.join(PATIENCE_SECONDS)
    assert library.loaded == [name, "first", "second"]


def test_module_that_cannot_be_loaded_is_logged_and_ends_the_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = library.add("preloaded_broken", "raise RuntimeError('broken')")
    failing = Preloading([broken, library.add("preloaded_never")], idle_seconds=0)
    with caplog.at_level(logging.ERROR):
        failing.start()
        failing.thread.join(PATIENCE_SECONDS)
    assert library.loaded == [broken]
    assert [record.getMessage() for record in caplog.records] == [f"Cannot load {broken}"]


SCRIPT = """
import json, sys, threading
import function_app
threads = [thread for thread in threading.enumerate() if thread.name == "preloading"]
for thread in threads:
    thread.join()
from shared.tools.schema import signature_of
made = signature_of.cache_info().currsize
json.dump([len(threads), sorted(sys.modules), made], sys.stdout)
"""


def start_app(environment: dict[str, str]) -> Any:
    """Imports the app in a fresh process; returns the threads that load, what is loaded, and made."""
    settings = {"MCP_API_KEY": "k", "OPENAI_API_KEY": "k", **environment}
    completed = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=settings, capture_output=True, text=True, check=True
    )
    return json.loads(completed.stdout)


def test_app_in_azure_loads_what_its_requests_will_need(tmp_path: Path) -> None:
    tools = Services.make(load_settings({"LOCAL_STORAGE_PATH": str(tmp_path)})).tools
    environment = {
        "WEBSITE_SITE_NAME": "app",
        "AZURE_STORAGE_ACCOUNT_URL": "https://name.blob.core.windows.net",
    }
    threads, modules, made = start_app(environment)
    expected = {*MODULES, "shared.storage.blob", "azure.identity.aio"}
    assert (threads, expected - {*modules}, made) == (1, set(), len([*tools]))


FIRST_ANSWERS = """
import asyncio, json, sys
import function_app
from importlib import import_module
from httpx2 import ASGITransport, AsyncClient
from shared.preloading import MODULES
for name in MODULES:
    import_module(name)
before = {*sys.modules}
statuses = []

async def ask(path, body):
    transport = ASGITransport(app=function_app.api)
    headers = {"Authorization": "Bearer k", "Accept": "application/json, text/event-stream"}
    async with AsyncClient(transport=transport, base_url="http://app", headers=headers) as client:
        statuses.append((await client.post(path, json=body)).status_code)

async def ask_all():
    await ask("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    await ask("/chat", {"message": "Say hello"})

asyncio.run(ask_all())
json.dump([statuses, sorted({*sys.modules} - before)], sys.stdout)
"""


def test_first_answers_load_no_more_of_the_libraries(stand_in: StandIn, tmp_path: Path) -> None:
    settings = {
        "MCP_API_KEY": "k",
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": stand_in.base_url,
        "LOCAL_STORAGE_PATH": str(tmp_path),
    }
    completed = subprocess.run(
        [sys.executable, "-c", FIRST_ANSWERS],
        env=settings,
        capture_output=True,
        text=True,
        check=True,
    )
    statuses, loaded = json.loads(completed.stdout)
    # Only a folder needs locks between processes.
    libraries = {name.partition(".")[0] for name in loaded} - {"filelock"}
    assert (statuses, libraries - sys.stdlib_module_names) == ([200, 200], set())


def test_app_elsewhere_loads_nothing_by_itself() -> None:
    threads, modules, made = start_app({})
    assert (threads, "openai" in modules, "mcp" in modules, made) == (0, False, False, 0)
