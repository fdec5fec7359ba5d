"""Readers who are slower than the provider, or do not read at all: what waits for them is bounded."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from pytest_mock import MockerFixture

from shared.agent import ChatInput
from shared.agent.buffer import MAX_JOINED_CHARS, MAX_WAITING, EventBuffer
from shared.agent.events import (
    ChatCreated,
    ChatDelta,
    ChatEvent,
    ToolProgressed,
)
from shared.app import create_app
from shared.auth import Principal
from shared.context import CallContext
from shared.deadline import Deadline
from shared.openai_service import CompletionRequest
from shared.services import Services
from shared.settings import load_settings
from tests.agents import make_agent
from tests.conftest import AUTH, KEY, ThreadServer
from tests.ports import SMALL_BUFFER
from tests.torrent import Torrent
from tests.waiting import block_until, until

MEGABYTE = 1_000_000
SECONDS = 3


@contextmanager
def app_of(torrent: Torrent, environment: dict[str, str], seconds: int = SECONDS) -> Iterator[str]:
    """Origin of an app whose provider is the torrent, and which has answered once."""
    chars, piece_chars = torrent.chars, torrent.piece_chars
    torrent.chars = torrent.piece_chars = 10
    with ThreadServer(torrent) as upstream:
        settings = environment | {
            "OPENAI_BASE_URL": f"{upstream.origin}/v1",
            "REQUEST_DEADLINE_SECONDS": str(seconds),
        }
        with ThreadServer(create_app(load_settings(settings)), send_buffer=SMALL_BUFFER) as server:
            # What the first call loads may take longer than the deadline.
            block_until(lambda: _ask(server.origin), lambda status: status == 200)
            torrent.chars, torrent.piece_chars = chars, piece_chars
            torrent.sent = torrent.left = 0
            yield server.origin


def _ask(origin: str) -> int:
    body = {"message": "hi"}
    headers = {**AUTH, "X-Request-Id": "first"}
    return httpx2.post(f"{origin}/chat", json=body, headers=headers, timeout=60).status_code


class Deaf:
    """A client that sends a request and reads nothing of the answer until it is told to."""

    def __init__(self, origin: str, request_id: str, **headers: str) -> None:
        target = urlsplit(origin)
        self._address = (target.hostname or "", target.port or 0)
        self._headers = {"X-Request-Id": request_id, "Authorization": f"Bearer {KEY}", **headers}
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        self._socket.setblocking(False)

    async def ask(self, **body: Any) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, self._address)
        content = json.dumps({"message": "hello", **body})
        lines = [
            "POST /chat HTTP/1.1",
            "Host: app",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
            *(f"{name}: {value}" for name, value in self._headers.items()),
        ]
        await loop.sock_sendall(self._socket, ("\r\n".join(lines) + f"\r\n\r\n{content}").encode())

    async def read_rest(self) -> bytes:
        """Returns what was left in buffers when the server ended the connection."""
        rest = bytearray()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):
            while piece := await loop.sock_recv(self._socket, 2**20):
                rest += piece
        return bytes(rest)

    def __enter__(self) -> "Deaf":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


async def test_who_reads_nothing_of_a_stream_is_cut_off_after_the_deadline(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shared")
    torrent = Torrent(None, piece_chars=100_000)
    with (
        app_of(torrent, environment) as origin,
        Deaf(origin, "stream") as one,
        Deaf(origin, "kept", **{"Idempotency-Key": "a"}) as other,
    ):
        await one.ask(stream=True)
        await other.ask(stream=True)
        await until(lambda: caplog.text.count("did not read its answer in time") == 2)
        assert len(await one.read_rest()) < MEGABYTE
        assert len(await other.read_rest()) < MEGABYTE
    lines = [json.loads(text[len("request ") :]) for text in caplog.messages if "duration" in text]
    ended = {
        line["request_id"]: (line["status"], line["code"])
        for line in lines
        if line["request_id"] != "first"
    }
    assert ended == dict.fromkeys(["stream", "kept"], (200, "deadline_exceeded"))


async def test_agent_does_not_run_ahead_of_its_reader(
    environment: dict[str, str], mocker: MockerFixture
) -> None:
    said = 0

    async def talk(request: CompletionRequest) -> AsyncGenerator[str, None]:
        nonlocal said
        for _ in range(10_000):
            said += 1
            yield "word "

    settings = load_settings(environment)
    services = Services.make(settings)
    mocker.patch.object(services.openai.chat, "stream", talk)
    context = CallContext(Principal("p", frozenset()), Deadline.after(60))
    events = make_agent(settings, services).events(ChatInput(message="hi"), context)
    async with aclosing(events):
        for taken in range(200):
            await anext(events)
            assert said <= taken + MAX_WAITING
    await services.aclose()


@pytest.mark.parametrize("pause", [0, 0.05], ids=["fast reader", "slow reader"])
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "a"}], ids=["no key", "key"])
async def test_stream_of_an_endless_answer_ends_with_the_deadline(
    environment: dict[str, str], headers: dict[str, str], pause: float
) -> None:
    torrent = Torrent(None, piece_chars=100_000)
    with app_of(torrent, environment) as origin:
        async with (
            asyncio.timeout(SECONDS + 60),
            httpx2.AsyncClient(base_url=origin, headers=AUTH | headers, timeout=60) as client,
            client.stream("POST", "/chat", json={"message": "hi", "stream": True}) as response,
        ):
            last = b""
            async for piece in response.aiter_bytes(2**16):
                last = (last + piece)[-1000:]
                await asyncio.sleep(pause)
        assert last.rpartition(b"\n\nevent: ")[2].startswith(b"chat.error\n")
        assert b'"code":"deadline_exceeded"' in last
        await until(lambda: torrent.left == 1)


async def test_endless_answer_as_json_ends_with_the_deadline(environment: dict[str, str]) -> None:
    torrent = Torrent(None)
    with app_of(torrent, environment) as origin:
        async with httpx2.AsyncClient(base_url=origin, headers=AUTH, timeout=60) as client:
            response = await client.post("/chat", json={"message": "hi"})
            assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
        await until(lambda: torrent.left == 1)


async def test_work_with_a_key_does_not_wait_for_its_reader(environment: dict[str, str]) -> None:
    # More than the sockets take, so that the reader holds something up.
    torrent = Torrent(2 * MEGABYTE, piece_chars=100_000)
    with (
        app_of(torrent, environment, seconds=100) as origin,
        Deaf(origin, "kept", **{"Idempotency-Key": "a"}) as client,
    ):
        await client.ask(stream=True)
        await until(lambda: torrent.sent == 2 * MEGABYTE)
        async with httpx2.AsyncClient(base_url=origin, headers=AUTH, timeout=60) as again:
            response = await again.post(
                "/chat", json={"message": "hello"}, headers={"Idempotency-Key": "a"}
            )
            assert len(response.json()["answer"]) == 2 * MEGABYTE


async def read_all(buffer: EventBuffer) -> list[ChatEvent]:
    buffer.close()
    return [event async for event in buffer]


async def test_pieces_that_wait_are_read_together_and_none_is_lost() -> None:
    buffer = EventBuffer(waits=True)
    words = [f"{number} " for number in range(10_000)]
    for word in words:
        buffer.put(ChatDelta(word))
    assert buffer.is_full
    events = await read_all(buffer)
    texts = [event.text for event in events if isinstance(event, ChatDelta)]
    assert "".join(texts) == "".join(words)
    assert len(texts) < MAX_WAITING * 2
    assert max(map(len, texts)) <= MAX_JOINED_CHARS


async def test_pieces_are_read_one_by_one_by_who_keeps_up() -> None:
    buffer = EventBuffer(waits=True)
    for word in ("a", "b", "c"):
        buffer.put(ChatDelta(word))
    assert await read_all(buffer) == [ChatDelta("a"), ChatDelta("b"), ChatDelta("c")]


async def test_of_the_progress_of_a_call_only_the_newest_waits() -> None:
    buffer = EventBuffer(waits=True)
    for number in range(1000):
        for call in ("one", "two"):
            buffer.put(ToolProgressed(call, number, 1000, None))
    assert not buffer.is_full
    assert await read_all(buffer) == [
        ToolProgressed("one", 999, 1000, None),
        ToolProgressed("two", 999, 1000, None),
    ]


async def test_events_keep_their_order() -> None:
    buffer = EventBuffer(waits=True)
    events: list[ChatEvent] = [
        ChatCreated(None, "m"),
        ChatDelta("a"),
        ToolProgressed("one", 1, None, None),
        ChatDelta("b"),
    ]
    for event in events:
        buffer.put(event)
    assert await read_all(buffer) == events


async def test_writer_waits_for_room_until_the_reader_takes_something_or_is_gone() -> None:
    buffer = EventBuffer(waits=True)
    for _ in range(MAX_WAITING):
        buffer.put(ChatDelta("a"))
    waiting = asyncio.create_task(buffer.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await anext(buffer)
    await waiting
    buffer.put(ChatDelta("a"))
    waiting = asyncio.create_task(buffer.room())
    buffer.discard()
    await waiting
    assert await read_all(buffer) == []
