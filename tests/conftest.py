"""Real parts for all tests: an upstream HTTP server, the application, and servers that serve it."""

import asyncio
import hashlib
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp

from local.server import LOOPBACK, LoopbackServer, bind
from local.stand_in import VIDEO_MODEL, create_stand_in
from shared.app import create_app
from shared.services import Services
from shared.settings import load_settings
from shared.storage import IdempotencyStore, MediaStore, Storage
from shared.timing import Timing
from shared.tools import Claims
from tests import time_limits
from tests.gate import Gate
from tests.ports import free_port
from tests.quick_apps import make_apps_quick
from tests.selection import Selection, leave_out
from tests.storage import azurite as azurite_process
from tests.storage.azurite import OAuthAzurite

KEY = "a-key-for-tests-in-azure-too"
TOOLS = [tool.name for tool in Services.make(load_settings({})).tools]
"""Our own tools in the order of their lists; `TRAITS` in tests/mcp says which there have to be."""

CHAT_TOOLS = [name for name in TOOLS if name not in ("chat_completion", "generate")]
"""What a chat offers its model where the caller names no tools."""

AUTH = {"Authorization": f"Bearer {KEY}"}

WORKERS_PER_CORE = 2
"""Tests wait for processes and servers more than they compute."""
MAX_WORKERS = 8

collect_ignore: list[str] = []
if sys.version_info < (3, 13):
    leave_out("tests/worker", "the Functions worker library needs Python 3.13.")
    collect_ignore.append("worker")


def pytest_configure(config: pytest.Config) -> None:
    make_apps_quick()
    config.pluginmanager.register(time_limits)
    config.pluginmanager.register(Selection())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with tests that have a limit of their own, so that none of them runs alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_xdist_auto_num_workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(WORKERS_PER_CORE * (cores or 1), MAX_WORKERS)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has clients trust nobody: reading the system's authorities costs each of them 20 ms."""
    # Where it is set, it comes before the folder.
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(Path(__file__).parent))


class ThreadServer:
    """Serves an ASGI application on loopback from a thread of its own.

    Args:
        app: What to serve.
        send_buffer: Bytes that the system takes for a client that does not read; None for its default,
            which may be megabytes.
        port: Where; 0 takes a free one.
    """

    def __init__(self, app: ASGIApp, send_buffer: int | None = None, port: int = 0) -> None:
        bound = bind(port)
        if send_buffer is not None:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self._server = LoopbackServer(app, bound, grace_seconds=0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.origin = f"http://{LOOPBACK}:{self._server.port}"

    def _run(self) -> None:
        asyncio.run(self._server.run_until_stopped())

    def __enter__(self) -> "ThreadServer":
        self._server.listen()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._thread.join()


class StandIn:
    """The stand-in as tests see it: where it is, what it was asked, what it is to do wrong."""

    def __init__(self, origin: str) -> None:
        self.base_url = f"{origin}/v1"
        self._client = httpx2.Client(base_url=origin, timeout=60)

    def fault(self, **fault: Any) -> None:
        """Queues a fault for the next request, or for several with ``times``."""
        self._client.post("/script", json=fault).raise_for_status()

    def requests(self) -> list[dict[str, Any]]:
        """Returns path, headers and body of all requests since the test began."""
        seen: list[dict[str, Any]] = self._client.get("/requests").json()
        return seen

    def bodies(self) -> list[dict[str, Any]]:
        """Returns the bodies of all requests since the test began."""
        return [request["body"] for request in self.requests()]

    def reset(self) -> None:
        self._client.delete("/script").raise_for_status()

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="session")
def gate() -> Gate:
    """Holds the stand-in's answers back where a test says so."""
    return Gate(create_stand_in())


@pytest.fixture(scope="session")
def stand_in_server(gate: Gate) -> Iterator[StandIn]:
    with ThreadServer(gate) as server:
        stand_in = StandIn(server.origin)
        yield stand_in
        stand_in.close()


@pytest.fixture
def stand_in(stand_in_server: StandIn) -> StandIn:
    stand_in_server.reset()
    return stand_in_server


@pytest.fixture(scope="session")
def azurite() -> Iterator[str]:
    """The connection string of a running Azurite."""
    port = free_port()
    with azurite_process.running(port):
        yield azurite_process.connection_string(port)


@pytest.fixture(scope="session")
def azurite_with_oauth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuthAzurite]:
    """A running Azurite that lets only identities in."""
    with azurite_process.running_with_oauth(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture
def environment(stand_in: StandIn, tmp_path: Path) -> dict[str, str]:
    """The app settings of a working app; tests change what they need."""
    return {
        "MCP_API_KEY": KEY,
        "OPENAI_BASE_URL": stand_in.base_url,
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_VIDEO_MODEL": VIDEO_MODEL,
        "LOCAL_STORAGE_PATH": str(tmp_path / "storage"),
    }


@pytest.fixture(params=["folder", pytest.param("azurite", marks=pytest.mark.any_python)])
def stored_environment(
    request: pytest.FixtureRequest, environment: dict[str, str]
) -> dict[str, str]:
    """Settings of a working app over each kind of storage, empty."""
    if request.param == "folder":
        return environment
    return environment | azurite_process.blob_settings(request.getfixturevalue("azurite"))


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    """What runs paid tools, over a folder."""
    settings = load_settings({"LOCAL_STORAGE_PATH": str(tmp_path / "storage")})
    storage = Storage(settings)
    return Claims(IdempotencyStore(storage), MediaStore(storage, settings))


MakeClient = Callable[..., httpx2.AsyncClient]


@pytest.fixture
def timing() -> Timing:
    """How long leases, pauses and waits of the app are; modules of tests shorten them."""
    return Timing()


@pytest.fixture
async def make_client(timing: Timing) -> AsyncIterator[MakeClient]:
    """Makes clients that call the application in this process, with the key unless told otherwise."""
    async with AsyncExitStack() as stack:

        def make(
            environment: dict[str, str],
            headers: dict[str, str] | None = None,
            own_timing: Timing | None = None,
        ) -> httpx2.AsyncClient:
            app = create_app(load_settings(environment), own_timing or timing)
            client = httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app),
                base_url="http://app",
                headers=AUTH if headers is None else headers,
            )
            stack.push_async_callback(_close, app, client)
            return client

        yield make


async def _close(app: FastAPI, client: httpx2.AsyncClient) -> None:
    await client.aclose()
    async with app.router.lifespan_context(app):
        pass


@pytest.fixture
def client(make_client: MakeClient, environment: dict[str, str]) -> httpx2.AsyncClient:
    """A client of a working app."""
    return make_client(environment)


@pytest.fixture
def app_origin(environment: dict[str, str]) -> Iterator[str]:
    """Origin of a working app behind a real HTTP server."""
    with ThreadServer(create_app(load_settings(environment))) as server:
        yield server.origin


def digest(key: str) -> str:
    """Returns what API_KEYS holds for a key."""
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that refuses connections: bound, so that nobody else takes it, but not listening."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        yield bound.getsockname()[1]
