"""Answers that take their time: pieces arrive as they are made, and who leaves is not worked for."""

import asyncio
import json
from collections.abc import Coroutine, Iterator
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from shared.routes.exchange import CLIENT_CLOSED_REQUEST
from tests.conftest import AUTH, ThreadServer
from tests.gate import Gate, happened
from tests.torrent import Torrent
from tests.waiting import block_until, until
from tests.worker.process import TIMEOUT_SECONDS, WorkerProcess, run_worker

ACCEPT = {"Accept": "application/json, text/event-stream"}


def tool_call(call_id: int, name: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": call_id, "method": "tools/call", "params": params}


V1_BODY = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "Think."}]}
SLOW_CALL = tool_call(2, "chat_completion", prompt="Think.")


async def test_a_piece_of_a_stream_arrives_while_the_next_is_being_made(
    caller: httpx2.AsyncClient, gate: Gate
) -> None:
    batch = [tool_call(1, "server_time"), SLOW_CALL]
    with gate.holding() as hold:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            caller.stream("POST", "/mcp", json=batch, headers=ACCEPT) as response,
        ):
            pieces = aiter(httpx2.EventSource(response))
            first = json.loads((await anext(pieces)).data)
            hold.over.set()
            rest = [json.loads(piece.data) async for piece in pieces]
    assert [first["id"], *(answer["id"] for answer in rest)] == [1, 2]
    assert not rest[0]["result"].get("isError")


async def test_the_stream_of_an_mcp_call_begins_before_its_result(
    caller: httpx2.AsyncClient, gate: Gate
) -> None:
    with gate.holding() as hold:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            caller.stream("POST", "/mcp", json=SLOW_CALL, headers=ACCEPT) as response,
        ):
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            hold.over.set()
            events = [event async for event in httpx2.EventSource(response) if event.data]
    (answer,) = (json.loads(event.data) for event in events)
    assert answer["id"] == SLOW_CALL["id"]
    assert answer["result"]["structuredContent"]["finish_reason"] == "stop"


async def test_a_streamed_chat_begins_before_the_provider_answers(
    caller: httpx2.AsyncClient, gate: Gate
) -> None:
    body = {"message": "What is the current server time?", "stream": True}
    with gate.holding() as hold:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            caller.stream("POST", "/chat", json=body) as response,
        ):
            assert response.headers["content-type"].startswith("text/event-stream")
            events = aiter(httpx2.EventSource(response))
            first = await anext(events)
            hold.over.set()
            rest = [event.event async for event in events]
    assert first.event == "chat.created"
    assert rest[:2] == ["chat.tool_call", "chat.tool_result"]
    assert set(rest[2:-1]) == {"chat.delta"}
    assert rest[-1] == "chat.completed"


async def test_when_the_client_of_a_streamed_chat_leaves_the_provider_is_not_waited_for(
    caller: httpx2.AsyncClient, gate: Gate
) -> None:
    async def listen() -> None:
        body = {"message": "Think.", "stream": True}
        async with caller.stream("POST", "/chat", json=body) as response:
            await response.aread()

    await leave_while_held(listen(), gate)
    listed = (await caller.get("/conversations", params={"limit": 1})).json()["conversations"]

    async def incomplete() -> list[bool]:
        page = (await caller.get(f"/conversations/{listed[0]['id']}")).json()
        return [message["incomplete"] for message in page["messages"]]

    await until(incomplete, lambda seen: seen == [True])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat", {"message": "Think."}),
        ("/tools/chat_completion", {"prompt": "Think."}),
        ("/v1/chat/completions", {**V1_BODY, "stream": True}),
        ("/v1/responses", {"model": "gpt-6-luna", "input": "Think."}),
    ],
)
async def test_when_the_client_leaves_the_provider_is_not_waited_for(
    worker: WorkerProcess, gate: Gate, path: str, body: dict[str, Any]
) -> None:
    request_id = f"left{path.replace('/', '-')}"
    async with worker.client() as leaver:
        request = leaver.post(path, json=body, headers={"X-Request-Id": request_id})
        await leave_while_held(request, gate)
    assert (await worker.logged_request(request_id))["status"] == CLIENT_CLOSED_REQUEST
    async with worker.client() as other:
        assert (await other.post("/chat", json={"message": "Hello"})).status_code == 200


async def test_client_that_leaves_a_v1_stream_in_its_middle_ends_the_provider_s_and_pays_for_it(
    caller: httpx2.AsyncClient, worker: WorkerProcess, gate: Gate
) -> None:
    request_id = "left-in-the-middle"
    body, headers = {**V1_BODY, "stream": True}, {"X-Request-Id": request_id}
    with gate.holding(pieces=1) as hold:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            worker.client() as leaver,
            leaver.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response,
        ):
            first = await anext(response.aiter_bytes())
            assert await happened(hold.asked)
        assert await happened(hold.left), "The provider is still waited for."
    assert first.startswith(b"data: {")
    assert (await worker.logged_request(request_id))["provider_calls"] == 1

    async def booked() -> list[tuple[str, bool]]:
        records = (await caller.get("/usage/records", params={"limit": 20})).json()["records"]
        return [
            (record["status"], record["is_estimate"])
            for record in records
            if record["request_id"] == request_id
        ]

    await until(booked, lambda seen: seen == [("cancelled", True)])
    await until(worker.state, lambda state: not any(state.values()))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_when_an_mcp_client_leaves_the_provider_is_not_waited_for(
    caller: httpx2.AsyncClient, worker: WorkerProcess, gate: Gate, mode: str
) -> None:
    async def think() -> None:
        transport = streamable_http_client(f"{worker.origin}/mcp", http_client=caller)
        async with Client(transport, mode=mode) as client:
            await client.call_tool("chat_completion", {"prompt": "Think."})

    await leave_while_held(think(), gate)
    assert (await caller.get("/health")).status_code == 200


async def leave_while_held(exchange: Coroutine[Any, Any, Any], gate: Gate) -> None:
    with gate.holding() as hold:
        task = asyncio.create_task(exchange)
        assert await happened(hold.asked)
        task.cancel()
        await asyncio.wait([task])
        assert await happened(hold.left), "The provider is still waited for."


@pytest.fixture(scope="module")
def flooded(app_settings: dict[str, str]) -> Iterator[tuple[WorkerProcess, Torrent]]:
    """An app whose provider never ends an answer, with a short deadline."""
    # Megabytes each second are enough; more would only cost the tests time.
    torrent = Torrent(10, piece_chars=10, pause=0.02)
    with ThreadServer(torrent) as server:
        settings = app_settings | {
            "OPENAI_BASE_URL": f"{server.origin}/v1",
            "REQUEST_DEADLINE_SECONDS": "10",
        }
        with run_worker(settings) as process:
            # What the first call loads may take longer than the deadline.
            block_until(lambda: _ask(process), lambda status: status == 200)
            torrent.chars, torrent.piece_chars = None, 100_000
            yield process, torrent


def _ask(process: WorkerProcess) -> int:
    url = f"{process.origin}/chat"
    return httpx2.post(
        url, json={"message": "Hi."}, headers=AUTH, timeout=TIMEOUT_SECONDS
    ).status_code


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_an_answer_without_end_ends_with_the_deadline(
    flooded: tuple[WorkerProcess, Torrent], is_streamed: bool
) -> None:
    process, torrent = flooded
    before = torrent.left
    async with asyncio.timeout(TIMEOUT_SECONDS), process.client() as client:
        body = {"message": "Talk.", "stream": is_streamed}
        async with client.stream("POST", "/chat", json=body) as response:
            last = b""
            async for piece in response.aiter_bytes():
                last = (last + piece)[-500:]
    assert response.status_code == (200 if is_streamed else 504)
    assert b'"code":"deadline_exceeded"' in last
    await until(lambda: torrent.left == before + 1)


async def test_a_client_that_reads_nothing_is_cut_off_after_the_deadline(
    flooded: tuple[WorkerProcess, Torrent],
) -> None:
    process, torrent = flooded
    before = torrent.left
    body = {"message": "Talk.", "stream": True}
    async with asyncio.timeout(TIMEOUT_SECONDS), process.client() as client:
        headers = {"X-Request-Id": "reads-nothing"}
        async with client.stream("POST", "/chat", json=body, headers=headers) as response:
            assert response.status_code == 200
            line = await process.logged_request("reads-nothing")
        assert (line["status"], line["code"]) == (200, "deadline_exceeded")
        await until(lambda: torrent.left == before + 1)
        assert (await client.get("/health")).status_code == 200
    assert "did not read its answer in time" in str(process.log)
