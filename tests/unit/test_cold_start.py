import json
import subprocess
import sys
from typing import Any

import pytest

HEAVY = [
    "openai",
    "azure.identity",
    "azure.storage",
    "mcp",
    "msal",
    "aiohttp",
    "click",
    "jwt",
    "cryptography",
    "PIL",
    "docstring_parser",
    "filelock",
    "pydantic.v1",
    "werkzeug.serving",
    "werkzeug.test",
]

UNUSED = [
    "aiohttp",
    "azure.identity",
    "azure.storage",
    "docstring_parser.numpydoc",
    "httpx",
    "jsonschema",
    "mcp.cli",
    "mcp.client",
    "mcp.server.mcpserver",
    "msal",
    "openai.lib.streaming.responses",
    "openai.resources.chat",
    "openai.resources.responses",
    "openai.types.batch",
    "openai.types.beta",
    "openai.types.chat.chat_completion",
    "openai.types.image",
    "openai.types.realtime",
    "openai.types.responses.response",
    "opentelemetry.sdk",
    "PIL",
    "rich",
]
"""What neither a chat nor MCP needs, with a key and a folder."""

SCRIPT = """
import asyncio, json, sys
import function_app
import gc
steps = {"import": sorted(sys.modules), "collector": [gc.isenabled(), gc.get_freeze_count() > 10_000]}

async def get_health():
    statuses = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/health", "raw_path": b"/health", "query_string": b"",
        "headers": [], "client": None, "server": None,
    }
    await function_app.api(scope, receive, send)
    return statuses

steps["status"] = asyncio.run(get_health())
steps["health"] = sorted(sys.modules)
steps["made"] = [route.name for route in function_app.api.routes if "dependant" in vars(route)]
json.dump(steps, sys.stdout)
"""


@pytest.fixture(scope="module")
def steps() -> dict[str, list[Any]]:
    environment = {
        "MCP_API_KEY": "k",
        "AZURE_OPENAI_ENDPOINT": "https://name.openai.azure.com",
        "ENTRA_TENANT_ID": "11111111-2222-3333-4444-555555555555",
        "ENTRA_CLIENT_ID": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    }
    completed = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    result: dict[str, list[Any]] = json.loads(completed.stdout)
    return result


def test_health_answers_in_a_fresh_process(steps: dict[str, list[Any]]) -> None:
    assert steps["status"] == [200]


def test_first_answer_makes_no_route_but_its_own(steps: dict[str, list[Any]]) -> None:
    assert steps["made"] == ["health"]


def test_collector_works_but_does_not_look_at_what_was_imported(
    steps: dict[str, list[Any]],
) -> None:
    assert steps["collector"] == [True, True]


@pytest.mark.parametrize("step", ["import", "health"])
@pytest.mark.parametrize("module", HEAVY)
def test_heavy_module_is_not_loaded(steps: dict[str, list[Any]], step: str, module: str) -> None:
    loaded = [name for name in steps[step] if name == module or name.startswith(f"{module}.")]
    assert loaded == []


FIRST_USE = """
import json, sys
import function_app
import shared.mcp_server.server, shared.openai_service.sdk
import openai
from shared.tools.clock import ClockTools
from shared.tools.schema import signature_of
client = openai.AsyncOpenAI(api_key="k")
client.audio.speech
signature_of(ClockTools.server_time)
json.dump(sorted(sys.modules), sys.stdout)
"""


@pytest.fixture(scope="module")
def first_use() -> list[str]:
    completed = subprocess.run(
        [sys.executable, "-c", FIRST_USE],
        env={"MCP_API_KEY": "k", "OPENAI_API_KEY": "k"},
        capture_output=True,
        text=True,
        check=True,
    )
    result: list[str] = json.loads(completed.stdout)
    return result


@pytest.mark.parametrize("module", UNUSED)
def test_unused_module_is_not_loaded_with_the_sdks(first_use: list[str], module: str) -> None:
    assert "openai.resources.audio" in first_use
    assert "mcp.server.lowlevel.server" in first_use
    loaded = [name for name in first_use if name == module or name.startswith(f"{module}.")]
    assert loaded == []
