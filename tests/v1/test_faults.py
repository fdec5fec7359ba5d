"""A provider that fails in each way that the network allows, before and after the first byte."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from tests.conftest import MakeClient
from tests.v1.test_bytes import CHAT, DONE, FINISH, TEXT

JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
EVENTS_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
RESET = b"<reset>"
"""Stands for a connection that is reset, in place of one that is closed."""


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


BEFORE = {
    "closed without an answer": b"",
    "reset without an answer": RESET,
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "closed in the headers": b"HTTP/1.1 200 OK\r\ncontent-ty",
    "reset in the headers": b"HTTP/1.1 200 OK\r\ncontent-ty" + RESET,
    "failure with a broken body": b"HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\n{",
    "gateway's page": b"HTTP/1.1 502 Bad\r\ncontent-length: 6\r\n\r\n<html>",
    "overloaded": b"HTTP/1.1 529 Overloaded\r\ncontent-length: 0\r\n\r\n",
    "redirect": b"HTTP/1.1 307 No\r\nlocation: https://else.example/\r\ncontent-length: 0\r\n\r\n",
    "JSON that is cut": JSON_HEAD + b"content-length: 100\r\n\r\n" + b'{"id": ',
    "JSON that is reset": JSON_HEAD + b"content-length: 100\r\n\r\n" + b'{"id": ' + RESET,
    "JSON in chunks that are cut": JSON_HEAD + CHUNKED + chunk(b'{"id": ') + b"50\r\nabc",
    "no JSON": JSON_HEAD + b"content-length: 5\r\n\r\n<html",
    "empty JSON": JSON_HEAD + b"content-length: 0\r\n\r\n",
    "no such encoding": JSON_HEAD + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
}
"""Faults of which nothing has been sent on: they are told by the status."""

AFTER = {
    "closed in the middle": EVENTS_HEAD + CHUNKED + chunk(TEXT),
    "reset in the middle": EVENTS_HEAD + CHUNKED + chunk(TEXT) + RESET,
    "closed in an event": EVENTS_HEAD + CHUNKED + chunk(TEXT) + chunk(b'data: {"id"'),
    "proper end of a stream without an end": EVENTS_HEAD + CHUNKED + chunk(TEXT) + b"0\r\n\r\n",
    "no chunk": EVENTS_HEAD + CHUNKED + chunk(TEXT) + b"zz\r\n",
    "shorter than said": EVENTS_HEAD + b"content-length: 9999\r\n\r\n" + TEXT,
    "no content at all": EVENTS_HEAD + CHUNKED + b"0\r\n\r\n",
}
"""Faults of a stream that has begun: they are told by an event, without a proper end."""


class Faulty:
    """A server that answers each request with given bytes and then closes or resets the connection.

    Attributes:
        answer: The bytes.
        count: How many requests came.
    """

    def __init__(self) -> None:
        self.answer = b""
        self.count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        self.count += 1
        writer.write(self.answer.removesuffix(RESET))
        await writer.drain()
        if self.answer.endswith(RESET):
            writer.transport.abort()
        writer.close()


@pytest.fixture
async def faulty() -> AsyncIterator[tuple[Faulty, str]]:
    """The server and its base URL."""
    upstream = Faulty()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield upstream, f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def ask(
    make_client: MakeClient, environment: dict[str, str], faulty: tuple[Faulty, str]
) -> Callable[[], AsyncIterator[httpx2.Response]]:
    client = make_client(environment | {"OPENAI_BASE_URL": faulty[1]})

    async def answers() -> AsyncIterator[httpx2.Response]:
        for stream in (False, True):
            yield await client.post(CHAT, json={"model": "m", "messages": [], "stream": stream})

    return answers


@pytest.mark.parametrize("fault", BEFORE.values(), ids=BEFORE.keys())
async def test_fault_before_the_first_byte_is_told_by_the_status(
    ask: Callable[[], AsyncIterator[httpx2.Response]], faulty: tuple[Faulty, str], fault: bytes
) -> None:
    faulty[0].answer = fault
    async for response in ask():
        assert response.status_code in (500, 502, 529)
        error = response.json()["error"]
        assert (error["type"], list(response.json())) == ("server_error", ["error"])
        assert error["code"] != "internal_error"
    # The caller's client retries, and knows what may be sent twice.
    assert faulty[0].count == 2


@pytest.mark.parametrize("fault", AFTER.values(), ids=AFTER.keys())
async def test_fault_in_a_stream_is_told_by_its_last_event(
    ask: Callable[[], AsyncIterator[httpx2.Response]], faulty: tuple[Faulty, str], fault: bytes
) -> None:
    faulty[0].answer = fault
    async for response in ask():
        assert response.status_code == 200
        last = json.loads(response.content.rpartition(b"data: ")[2])
        assert last["error"]["code"] == "provider_truncated"
        assert b"[DONE]" not in response.content
    assert faulty[0].count == 2


async def test_server_of_the_faults_can_answer_well(
    ask: Callable[[], AsyncIterator[httpx2.Response]], faulty: tuple[Faulty, str]
) -> None:
    faulty[0].answer = EVENTS_HEAD + CHUNKED + chunk(TEXT + FINISH + DONE) + b"0\r\n\r\n"
    async for response in ask():
        assert response.content == TEXT + FINISH + DONE
