"""The official client of SDK 1, which knows only the handshake revisions, in a Python of its own."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from tests.conftest import AUTH, TOOLS, StandIn
from tests.mcp.support import PROJECT, TIMEOUT

PYTHON = PROJECT / ".venv-mcp1/bin/python"
CLIENT = PROJECT / "tests/mcp/sdk1/client.py"
INSTALLED = PROJECT / ".venv-mcp1/.ready"

CALLS = {
    "chat_completion": {"prompt": "Say hello."},
    "generate": {"prompt": "Say hello."},
    "list_supported_models": {},
    "server_time": {},
}


async def ask(url: str, headers: dict[str, str], calls: list[Any], resources: list[str]) -> Any:
    """Returns what the client of SDK 1 is answered."""
    if not INSTALLED.exists():
        pytest.fail("The client of SDK 1 is not installed. Run: make .venv-mcp1/.ready")
    task = {"url": url, "headers": headers, "calls": calls, "resources": resources}
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        CLIENT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(2 * TIMEOUT):
        output, complaints = await process.communicate(json.dumps(task).encode())
    assert process.returncode == 0, complaints.decode()
    return json.loads(output)


async def test_client_of_sdk_1_lists_and_calls_every_tool(origin: str, stand_in: StandIn) -> None:
    bad_calls = [("server_time", {"timezone": "CET"}), ("paint", {})]
    calls = [*CALLS.items(), *bad_calls]
    async with httpx2.AsyncClient(base_url=origin, headers=AUTH, timeout=TIMEOUT) as https:
        tools = (await https.get("/tools")).json()["tools"]
        # MCP has no field for what a call costs.
        for tool in tools:
            del tool["paid"]
        models = (await https.post("/tools/list_supported_models", json={})).json()
    stand_in.fault(text="Good day.", times=2)
    answer = await ask(
        f"{origin}/mcp",
        AUTH,
        [{"name": name, "arguments": arguments} for name, arguments in calls],
        ["models://supported"],
    )
    clock = answer["calls"][[*CALLS].index("server_time")]["structuredContent"]
    shown = [tool.pop("icons", None) for tool in answer["tools"]]
    assert [{"src": "http://localhost:7071/pages/image.png"}] in shown
    assert answer == {
        "protocol_version": "2025-11-25",
        "server": "openai-mcp-functions",
        "tools": tools,
        "resources": [
            {
                "name": "supported_models",
                "title": "Supported models",
                "uri": "models://supported",
                "description": (
                    "The configured model of each capability, as list_supported_models tells it."
                ),
                "mimeType": "application/json",
            }
        ],
        "calls": [
            result(
                {
                    "text": "Good day.",
                    "parsed": None,
                    "model": "gpt-6-luna",
                    "finish_reason": "stop",
                    "usage": {
                        "prompt_tokens": 2,
                        "completion_tokens": 2,
                        "total_tokens": 4,
                        "cached_tokens": 0,
                        "reasoning_tokens": 0,
                    },
                }
            ),
            result({"text": "Good day.", "model": "gpt-6-luna", "finish_reason": "stop"}),
            result(models),
            result({"server_time": clock["server_time"]}),
            error("Invalid arguments. timezone: There is no field of this name"),
            error(f"There is no tool named 'paint'. The tools are: {', '.join(TOOLS)}."),
        ],
        "contents": [
            {
                "uri": "models://supported",
                "mimeType": "application/json",
                "text": compact(models),
            }
        ],
    }


async def test_client_of_sdk_1_without_a_key_does_not_connect(origin: str) -> None:
    with pytest.raises(AssertionError, match="401 Unauthorized"):
        await ask(f"{origin}/mcp", {}, [], [])


def result(structured: dict[str, Any]) -> dict[str, Any]:
    """A result as it should arrive: as text, and structured."""
    content = [{"type": "text", "text": compact(structured)}]
    return {"content": content, "structuredContent": structured, "isError": False}


def error(text: str) -> dict[str, Any]:
    """A result that says what went wrong."""
    return {"content": [{"type": "text", "text": text}], "isError": True}


def compact(document: Any) -> str:
    """JSON without blanks."""
    return json.dumps(document, separators=(",", ":"))
