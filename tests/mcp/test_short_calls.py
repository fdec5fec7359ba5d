"""Calls that are answered with one document: which they are, and that they end with their client."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from shared.mcp_server import McpEndpoint
from tests.mcp.fixture_server import Work, fixture_server, hosted
from tests.mcp.support import HEADERS, TIMEOUT, answers, connected, modern_request, request

DOCUMENT = "application/json"
STREAM = "text/event-stream"


def tool_call(name: str, **meta: Any) -> dict[str, Any]:
    return request(1, "tools/call", {"name": name, "arguments": {}, "_meta": meta})


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
async def test_result_of_a_tool_that_asks_nobody_is_one_document(
    wire: httpx2.AsyncClient, version: str
) -> None:
    headers = {"MCP-Protocol-Version": version}
    response = await wire.post("/mcp", json=tool_call("list_tasks"), headers=headers)
    assert response.headers["content-type"] == DOCUMENT
    assert response.json()["result"]["structuredContent"]["tasks"] == []


@pytest.mark.parametrize(
    "body",
    [
        tool_call("list_tasks", progressToken="token"),
        tool_call("list_models"),
        tool_call("no_such_tool"),
        request(1, "tools/list"),
    ],
    ids=["with progress", "of a provider", "unknown", "another method"],
)
async def test_all_else_is_a_stream(wire: httpx2.AsyncClient, body: Mapping[str, Any]) -> None:
    response = await wire.post("/mcp", json=body)
    assert response.headers["content-type"].startswith(STREAM)
    assert [message["id"] for message in answers(response) if "id" in message] == [1]


@pytest.mark.parametrize("accept", [DOCUMENT, STREAM])
async def test_client_that_takes_one_kind_of_answer_gets_406_for_a_short_call_too(
    wire: httpx2.AsyncClient, accept: str
) -> None:
    headers = {"Accept": accept}
    response = await wire.post("/mcp", json=tool_call("list_tasks"), headers=headers)
    assert response.status_code == 406


@pytest.mark.parametrize("params", [None, [], {}, {"name": ["list_tasks"]}, {"name": None}])
async def test_malformed_call_is_refused_with_the_words_of_the_sdk(
    wire: httpx2.AsyncClient, params: Any
) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    response = await wire.post("/mcp", json=body)
    assert "error" in answers(response)[0]


async def test_client_that_leaves_a_short_call_cancels_the_tool(mode: str) -> None:
    work = Work()

    async def call() -> None:
        async with connected(url, mode) as client:
            await client.call_tool("work")

    endpoint = McpEndpoint(lambda: fixture_server(work), short_tools=["work"])
    async with hosted(endpoint) as url, asyncio.timeout(TIMEOUT):
        calling = asyncio.create_task(call())
        await work.has_begun.wait()
        calling.cancel()
        await work.was_cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_closing_ends_a_short_call_that_still_runs() -> None:
    work = Work()
    endpoint = McpEndpoint(lambda: fixture_server(work), short_tools=["work"])
    body, headers = modern_request("tools/call", {"name": "work"})
    async with (
        hosted(endpoint) as url,
        httpx2.AsyncClient(headers={**HEADERS, **headers}, timeout=TIMEOUT) as http,
    ):
        calling = asyncio.create_task(http.post(url, json=body))
        async with asyncio.timeout(TIMEOUT):
            await work.has_begun.wait()
            await endpoint.aclose()
            assert work.was_cancelled.is_set()
            await asyncio.gather(calling, return_exceptions=True)
