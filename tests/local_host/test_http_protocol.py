"""What the server makes of requests that no client should send, and of those that few do."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.types import Message, Receive, Scope, Send

from local.server import LOOPBACK, LoopbackServer

pytestmark = pytest.mark.anyio

WAIT_SECONDS = 30
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST_CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


class App:
    """Answers with what it got; a path ``/wait`` only after its client has disconnected."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.left = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/wait":
            await self._wait(receive)
            return
        if scope["path"] == "/slow":
            await send(_start())
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            await self.may_end.wait()
            await send({"type": "http.response.body", "body": b"ended"})
            return
        body = b""
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        names = [name.decode() for name, _ in scope["headers"]]
        told = {"path": scope["path"], "body": body.decode(), "headers": names}
        # Without its length.
        await send(_start())
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})

    async def _wait(self, receive: Receive) -> None:
        self.begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


def _start() -> Message:
    return {"type": "http.response.start", "status": 200, "headers": []}


class Client:
    """A connection on which anything can be sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        # Where the buffer has room, that lets nobody else run.
        await asyncio.sleep(0)

    @property
    def has_ended(self) -> bool:
        return self._reader.at_eof()

    async def read_until(self, mark: bytes) -> bytes:
        return await self._reader.readuntil(mark)

    async def read_all(self) -> bytes:
        """Reads until the server ends the connection."""
        return await self._reader.read(-1)

    def abort(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def connected(app: App) -> AsyncIterator[Client]:
    server = LoopbackServer(app, grace_seconds=0)
    async with server.running(), asyncio.timeout(WAIT_SECONDS):
        reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()


@pytest.fixture
async def app() -> App:
    return App()


@pytest.fixture
async def client(app: App) -> AsyncIterator[Client]:
    async with connected(app) as client:
        yield client


async def answer(client: Client, request: bytes) -> str:
    """Sends a request and returns its answer to the end of the connection."""
    await client.send(request)
    return (await client.read_all()).decode()


@pytest.mark.parametrize(
    "begin",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\nX-Long: ",
        b"GET /",
        POST_CHUNKED + b"1\r\na\r\n0\r\nX-Trailer: ",
        POST_CHUNKED + b"1;extension=",
        b"GET / HTTP/1.1\r\nX-First: a\r\n",
    ],
    ids=["header", "target", "trailer", "extension of a chunk", "headers"],
)
async def test_what_never_ends_is_cut_off(client: Client, begin: bytes) -> None:
    await client.send(begin)
    # What comes after the refusal resets the connection, perhaps before the answer is read.
    with suppress(ConnectionError):
        while not client.has_ended:
            await client.send(b"X-Name: value\r\n" if begin.endswith(b"\n") else b"a" * 1024)


async def test_large_head_is_taken_as_the_functions_host_takes_it(client: Client) -> None:
    head = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Long: " + b"a" * 40 * 1024
    await client.send(head[:20_000])
    assert (await answer(client, head[20_000:] + b"\r\n\r\n")).startswith("HTTP/1.1 200 ")


async def test_large_body_in_small_chunks_is_taken(client: Client) -> None:
    body = b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n"
    await client.send(POST_CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert "a" * 100_000 in await answer(client, body)


async def test_what_follows_a_body_is_no_header(client: Client) -> None:
    request = POST_CHUNKED + b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    await client.send(request)
    told = (await client.read_until(b"}")).decode()
    assert '"body": "a", "headers": ["host", "transfer-encoding"]' in told


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n",
        b"nonsense\r\n\r\n",
        POST_CHUNKED + b"nonsense\r\n",
    ],
)
async def test_malformed_request_is_refused(client: Client, request_text: bytes) -> None:
    assert (await answer(client, request_text)).startswith("HTTP/1.1 400 ")


async def test_malformed_request_does_not_garble_the_answer_before_it(client: Client) -> None:
    await client.send(GET.replace(b"/ ", b"/slow "))
    head = await client.read_until(b"begun\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert await answer(client, b"nonsense\r\n\r\n") == ""


async def test_requests_that_come_together_are_answered_in_order(client: Client) -> None:
    requests = [GET.replace(b"/ ", f"/{number} ".encode()) for number in range(10)]
    await client.send(b"".join(requests))
    for number in range(10):
        assert f'"path": "/{number}"'.encode() in await client.read_until(b"0\r\n\r\n")


async def test_too_many_requests_before_an_answer_end_the_connection(
    app: App, client: Client
) -> None:
    await client.send(GET.replace(b"/ ", b"/wait ") + GET * 1000)
    assert await client.read_all() == b""
    await app.left.wait()


async def test_first_of_several_requests_is_told_of_a_disconnect(app: App, client: Client) -> None:
    await client.send(GET.replace(b"/ ", b"/wait ") + GET)
    await app.begun.wait()
    client.abort()
    await app.left.wait()


async def test_answer_for_http_1_0_has_no_chunks(client: Client) -> None:
    text = await answer(client, b"GET / HTTP/1.0\r\n\r\n")
    head, _, body = text.partition("\r\n\r\n")
    assert "transfer-encoding" not in head.lower()
    assert json.loads(body)["path"] == "/"


@pytest.mark.parametrize("body", [b"", b"a"])
async def test_request_that_offers_an_upgrade_is_answered_as_it_is(
    client: Client, body: bytes
) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    request = b"POST / HTTP/1.1\r\nHost: h\r\n%sContent-Length: %d\r\n\r\n%s"
    for _ in range(2):
        await client.send(request % (offer, len(body), body))
        told = (await client.read_until(b"0\r\n\r\n")).decode()
        assert told.startswith("HTTP/1.1 200 ")
        assert f'"body": "{body.decode()}"' in told


async def test_absolute_target_is_the_path(client: Client) -> None:
    await client.send(b"GET http://h/a/b HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b'"path": "/a/b"' in await client.read_until(b"}")


async def test_client_that_expects_100_gets_it_before_it_sends(client: Client) -> None:
    await client.send(
        b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
    )
    assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"a")
    assert b'"body": "a"' in await client.read_until(b"}")


async def test_head_has_no_body(client: Client) -> None:
    await client.send(GET.replace(b"GET", b"HEAD") + GET)
    both = await client.read_until(b"0\r\n\r\n")
    assert both.count(b"HTTP/1.1 200 OK") == 2
    assert both.count(b'"path"') == 1
