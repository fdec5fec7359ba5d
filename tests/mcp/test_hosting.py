"""What the endpoint does for any server: one start, streams, cancellation, a clean end."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import MCPError
from mcp.server.lowlevel import Server
from starlette.types import Message

from shared.mcp_server import McpEndpoint
from tests.mcp.fixture_server import Work, fixture_server, hosted
from tests.mcp.support import HEADERS, TIMEOUT, answers, connected, modern_request, request

CALL = request(1, "tools/call", {"name": "work", "_meta": {"progressToken": "token"}})
PROGRESS = {
    "jsonrpc": "2.0",
    "method": "notifications/progress",
    "params": {"progressToken": "token", "progress": 1, "total": 2, "message": "half of it"},
}
DONE = types.CallToolResult(content=[types.TextContent(text="done")], is_error=False)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
async def url(work: Work) -> AsyncIterator[str]:
    """Where the fixture server is hosted."""
    async with hosted(McpEndpoint(lambda: fixture_server(work))) as url:
        yield url


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(headers=HEADERS, timeout=TIMEOUT) as client:
        yield client


async def test_progress_arrives_before_the_tool_returns(url: str, mode: str, work: Work) -> None:
    reports = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, total, message))
        # Only this lets the tool return: progress that came with the result would come never.
        work.may_finish.set()

    async with connected(url, mode) as client, asyncio.timeout(TIMEOUT):
        result = await client.call_tool("work", progress_callback=on_progress)
    assert reports == [(1, 2, "half of it")]
    assert result.content == DONE.content


async def test_progress_arrives_before_the_batch_is_answered(
    url: str, http: httpx2.AsyncClient, work: Work
) -> None:
    async with http.stream("POST", url, json=[CALL, request(2, "ping")]) as response:
        async with asyncio.timeout(TIMEOUT):
            events = aiter(httpx2.EventSource(response))
            early = [json.loads((await anext(events)).data) for _ in range(2)]
            work.may_finish.set()
            late = [json.loads(event.data) async for event in events]
    assert sorted(early, key=lambda message: "id" in message) == [
        PROGRESS,
        {"jsonrpc": "2.0", "id": 2, "result": {}},
    ]
    assert [message["id"] for message in late] == [1]


async def test_client_that_leaves_cancels_the_tool(url: str, mode: str, work: Work) -> None:
    async def call() -> None:
        async with connected(url, mode) as client:
            await client.call_tool("work")

    calling = asyncio.create_task(call())
    async with asyncio.timeout(TIMEOUT):
        await work.has_begun.wait()
        calling.cancel()
        await work.was_cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await calling


@pytest.mark.parametrize("body", [CALL, [CALL, request(2, "ping")]], ids=["alone", "batch"])
async def test_connection_that_breaks_cancels_the_tool(
    url: str, http: httpx2.AsyncClient, work: Work, body: Any
) -> None:
    async with asyncio.timeout(TIMEOUT):
        async with http.stream("POST", url, json=body):
            await work.has_begun.wait()
        await work.was_cancelled.wait()


async def test_50_first_requests_at_once_start_one_server(work: Work, mode: str) -> None:
    requests = 50
    arrived = 0
    made = 0
    all_arrived = threading.Event()

    def make_server() -> Server[Any]:
        nonlocal made
        made += 1
        # Whoever does not wait for the start of the first would start another one meanwhile.
        assert all_arrived.wait(TIMEOUT)
        return fixture_server(work)

    class CountingEndpoint(McpEndpoint):
        async def answer(self, *arguments: Any) -> None:
            nonlocal arrived
            arrived += 1
            if arrived == requests:
                all_arrived.set()
            await super().answer(*arguments)

    is_modern = mode == "auto"
    body, headers = modern_request("tools/list") if is_modern else (request(1, "tools/list"), {})
    async with (
        hosted(CountingEndpoint(make_server)) as url,
        httpx2.AsyncClient(headers={**HEADERS, **headers}, timeout=TIMEOUT) as http,
    ):
        responses = await asyncio.gather(*(http.post(url, json=body) for _ in range(requests)))
    names = [answers(response)[0]["result"]["tools"][0]["name"] for response in responses]
    assert (names, made) == (["work"] * requests, 1)


async def test_server_that_cannot_be_made_is_an_error_and_is_made_anew(
    http: httpx2.AsyncClient, work: Work
) -> None:
    made = 0

    def make_server() -> Server[Any]:
        nonlocal made
        made += 1
        if made == 1:
            raise RuntimeError("Not now.")
        return fixture_server(work)

    async with hosted(McpEndpoint(make_server)) as url:
        statuses = [(await http.post(url, json=request(1, "ping"))).status_code for _ in range(3)]
    assert (statuses, made) == ([500, 200, 200], 2)


async def test_server_whose_start_fails_is_an_error_and_is_started_anew(
    http: httpx2.AsyncClient,
) -> None:
    started = 0

    @asynccontextmanager
    async def lifespan(_: Server[Any]) -> AsyncIterator[None]:
        nonlocal started
        started += 1
        if started == 1:
            raise RuntimeError("Not now.")
        yield

    async with hosted(McpEndpoint(lambda: Server("fixture", lifespan=lifespan))) as url:
        statuses = [(await http.post(url, json=request(1, "ping"))).status_code for _ in range(3)]
    assert (statuses, started) == ([500, 200, 200], 2)


async def test_first_request_that_is_cancelled_leaves_its_start_to_the_others(work: Work) -> None:
    made = 0
    is_being_made = threading.Event()
    may_be_made = threading.Event()

    def make_server() -> Server[Any]:
        nonlocal made
        made += 1
        is_being_made.set()
        assert may_be_made.wait(TIMEOUT)
        return fixture_server(work)

    endpoint = McpEndpoint(make_server)
    first = asyncio.create_task(status_of(endpoint))
    second = asyncio.create_task(status_of(endpoint))
    async with asyncio.timeout(TIMEOUT):
        await asyncio.to_thread(is_being_made.wait, TIMEOUT)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        may_be_made.set()
        assert (await second, made) == (200, 1)
        await endpoint.aclose()


async def test_start_that_fails_after_everybody_left_is_not_held_against_the_next(
    work: Work,
) -> None:
    is_being_made = threading.Event()
    may_fail = threading.Event()
    made = 0

    def make_server() -> Server[Any]:
        nonlocal made
        made += 1
        if made == 1:
            is_being_made.set()
            assert may_fail.wait(TIMEOUT)
            raise RuntimeError("Not now.")
        return fixture_server(work)

    endpoint = McpEndpoint(make_server)
    before = asyncio.all_tasks()
    first = asyncio.create_task(status_of(endpoint))
    async with asyncio.timeout(TIMEOUT):
        await asyncio.to_thread(is_being_made.wait, TIMEOUT)
        first.cancel()
        may_fail.set()
        await asyncio.wait(asyncio.all_tasks() - before)
        assert await status_of(endpoint) == 200
        await endpoint.aclose()
    assert made == 2


async def status_of(endpoint: McpEndpoint) -> int:
    """The status with which the endpoint answers a ping, without a server in between."""
    statuses: list[int] = []

    async def receive() -> Message:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": headers}
    message = request(1, "ping")
    await endpoint.answer(json.dumps(message).encode(), message, scope, receive, send)
    [status] = statuses
    return status


async def test_endpoint_that_was_never_asked_makes_nothing_and_closes() -> None:
    def make_server() -> Server[Any]:
        raise AssertionError("nobody asked")

    async with asyncio.timeout(TIMEOUT):
        await McpEndpoint(make_server).aclose()


async def test_closing_ends_the_tools_that_still_run_before_the_servers_lifespan(
    mode: str, work: Work
) -> None:
    was_cancelled_before_the_end = None

    @asynccontextmanager
    async def lifespan(_: Server[Any]) -> AsyncIterator[None]:
        nonlocal was_cancelled_before_the_end
        yield
        was_cancelled_before_the_end = work.was_cancelled.is_set()

    def make_server() -> Server[Any]:
        server = fixture_server(work)
        server.lifespan = lifespan
        return server

    endpoint = McpEndpoint(make_server)
    async with hosted(endpoint) as url, connected(url, mode) as client:
        call = asyncio.create_task(client.call_tool("work"))
        async with asyncio.timeout(TIMEOUT):
            await work.has_begun.wait()
            await endpoint.aclose()
            assert was_cancelled_before_the_end
            with pytest.raises(MCPError):
                await call


async def test_closing_leaves_no_task_behind(work: Work) -> None:
    async def serve_once() -> None:
        endpoint = McpEndpoint(lambda: fixture_server(work))
        assert await status_of(endpoint) == 200
        await endpoint.aclose()

    async with asyncio.timeout(TIMEOUT):
        # With the first stream of an event loop the SSE library starts a task that it never ends.
        await serve_once()
        before = asyncio.all_tasks()
        await serve_once()
    assert asyncio.all_tasks() == before
