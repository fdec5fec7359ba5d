"""What the server makes of requests that no client should send, and of those that few do."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest
from starlette.types import Message, Receive, Scope, Send

from local.server import LOOPBACK, LoopbackServer
from shared.http_protocol import MAX_HEAD_BYTES, MAX_OPEN_REQUESTS

pytestmark = pytest.mark.anyio

WAIT_SECONDS = 30
READ_TURNS = 10
"""Of the event loop, in which the server accepts a connection, and reads what came."""
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST_CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


class App:
    """Answers with what it got.

    ``/quiet`` and ``/slow`` answer when they may, ``/slow`` begins before; ``/early`` begins
    before it reads the body; ``/wait`` answers 503 after a disconnect, and ``/refused`` 401 at once.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.left = asyncio.Event()
        self.may_end = asyncio.Event()
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        self.paths.append(path)
        if path == "/refused":
            await send({**_start(), "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
            return
        if path == "/wait":
            await self._wait(receive)
            await send({**_start(), "status": 503})
            await send({"type": "http.response.body"})
            return
        if path == "/early":
            await send(_start())
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        body = b""
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        names = [name.decode() for name, _ in scope["headers"]]
        told = {"path": path, "body": body.decode(), "headers": names}
        if path == "/quiet":
            await self._until_may_end(receive)
        # Without its length.
        await send(_start())
        if path == "/slow":
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            await self._until_may_end(receive)
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})

    async def _until_may_end(self, receive: Receive) -> None:
        waiting = asyncio.create_task(self._wait(receive))
        await self.may_end.wait()
        waiting.cancel()

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

    async def send(self, *pieces: bytes) -> None:
        """Sends pieces, each of which the server reads before the next."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            for _ in range(READ_TURNS):
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
async def connected(server: LoopbackServer) -> AsyncIterator[Client]:
    async with asyncio.timeout(WAIT_SECONDS):
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
    server = LoopbackServer(app, grace_seconds=0)
    async with server.running(), connected(server) as client:
        yield client


async def answer(client: Client, *pieces: bytes) -> str:
    """Sends a request and returns its answer to the end of the connection."""
    await client.send(*pieces)
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


def head_of(size: int) -> bytes:
    begin = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Long: "
    return begin + b"a" * (size - len(begin) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("cut", [1, 20_000, MAX_HEAD_BYTES - 2, MAX_HEAD_BYTES + 2])
async def test_limit_of_a_head_is_the_same_in_any_pieces(app: App, cut: int) -> None:
    server = LoopbackServer(app, grace_seconds=0)
    statuses = []
    async with server.running():
        for size in (MAX_HEAD_BYTES, MAX_HEAD_BYTES + 1):
            async with connected(server) as client:
                text = await answer(client, head_of(size)[:cut], head_of(size)[cut:])
            statuses.append(text.splitlines()[0])
            if size > MAX_HEAD_BYTES:
                assert text.endswith("The head of the request is too large.")
    assert statuses == ["HTTP/1.1 200 OK", "HTTP/1.1 400 Bad Request"]


async def test_large_head_behind_a_request_is_refused_in_one_piece(client: Client) -> None:
    both = await answer(client, GET + head_of(100_000))
    assert '"path": "/"' in both
    assert both.endswith("The head of the request is too large.")


async def test_body_in_one_piece_with_its_head_is_no_part_of_it(client: Client) -> None:
    head = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n"
    assert "a" * 100_000 in await answer(client, head + b"a" * 100_000)


async def test_large_body_in_small_chunks_is_taken(client: Client) -> None:
    body = b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n"
    await client.send(POST_CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert "a" * 100_000 in await answer(client, body)


async def test_what_follows_a_body_is_no_header(client: Client) -> None:
    request = POST_CHUNKED + b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    await client.send(request)
    told = (await client.read_until(b"}")).decode()
    assert '"body": "a", "headers": ["host", "transfer-encoding"]' in told


INVALID = "Invalid HTTP request received."
ONE_HOST = "The request must have exactly one Host header."


@pytest.mark.parametrize(
    ("request_text", "sentence"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", ONE_HOST),
        (b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", ONE_HOST),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", "The version of HTTP must be 1.0 or 1.1."),
        (b"GET / HTTP/1.2\r\nHost: h\r\n\r\n", INVALID),
        (b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", "CONNECT is not supported."),
        (b"FOO / HTTP/1.1\r\nHost: h\r\n\r\n", INVALID),
        (b"GET / HTTP/1.1\nHost: h\n\n", INVALID),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", INVALID),
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            INVALID,
        ),
        (POST_CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n"), INVALID),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", INVALID),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n", INVALID),
        (b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", INVALID),
        (b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", INVALID),
        (b"nonsense\r\n", INVALID),
        (POST_CHUNKED + b"nonsense\r\n", INVALID),
    ],
)
async def test_malformed_request_is_refused(
    client: Client, request_text: bytes, sentence: str
) -> None:
    text = await answer(client, request_text)
    assert text.startswith("HTTP/1.1 400 ")
    assert text.endswith("\r\n\r\n" + sentence)


@pytest.mark.parametrize("path", [b"/quiet", b"/slow"])
@pytest.mark.parametrize(
    "second",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
    ids=["two hosts", "nonsense", "HTTP/1.0", "upgrade"],
)
@pytest.mark.parametrize("is_one_piece", [True, False])
async def test_request_is_answered_before_the_next_is_refused(
    app: App, client: Client, path: bytes, second: bytes, is_one_piece: bool
) -> None:
    first = b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}" % path
    await client.send(*([first + second] if is_one_piece else [first, second]))
    await app.begun.wait()
    # What comes after a refusal is not read.
    await client.send(GET)
    app.may_end.set()
    answered, _, refused = (await client.read_all()).decode().partition("\r\n0\r\n\r\n")
    assert answered.startswith("HTTP/1.1 200 ")
    assert '"body": "{}"' in answered
    assert refused.startswith("HTTP/1.1 400 ")
    assert not app.left.is_set()
    assert app.paths == [path.decode()]


async def test_request_whose_body_is_malformed_is_refused_in_its_turn(
    app: App, client: Client
) -> None:
    await client.send(GET.replace(b"/ ", b"/quiet "), POST_CHUNKED + b"nonsense\r\n")
    app.may_end.set()
    answered, _, refused = (await client.read_all()).decode().partition("\r\n0\r\n\r\n")
    assert '"path": "/quiet"' in answered
    assert refused.startswith("HTTP/1.1 400 ")
    assert app.paths == ["/quiet"]


async def test_request_whose_body_is_malformed_is_told_of_a_disconnect(
    app: App, client: Client
) -> None:
    await client.send(POST_CHUNKED.replace(b"/ ", b"/wait "))
    assert (await answer(client, b"nonsense\r\n")).startswith("HTTP/1.1 400 ")
    await app.left.wait()


async def test_malformed_body_does_not_garble_an_answer_that_began_before(
    app: App, client: Client
) -> None:
    await client.send(POST_CHUNKED.replace(b"/ ", b"/early "))
    await client.read_until(b"begun\r\n")
    assert await answer(client, b"nonsense\r\n") == ""


async def test_requests_that_come_together_are_answered_in_order(client: Client) -> None:
    requests = [GET.replace(b"/ ", f"/{number} ".encode()) for number in range(10)]
    await client.send(b"".join(requests))
    for number in range(10):
        assert f'"path": "/{number}"'.encode() in await client.read_until(b"0\r\n\r\n")


async def test_too_many_requests_before_an_answer_are_refused(app: App, client: Client) -> None:
    await client.send(GET.replace(b"/ ", b"/quiet ") + GET * 1000)
    app.may_end.set()
    text = (await client.read_all()).decode()
    assert text.count("HTTP/1.1 200 ") == MAX_OPEN_REQUESTS
    assert text.endswith("Too many requests came before the answer to the first.")


async def test_first_of_several_requests_is_told_of_a_disconnect(app: App, client: Client) -> None:
    await client.send(GET.replace(b"/ ", b"/wait ") + GET)
    await app.begun.wait()
    client.abort()
    await app.left.wait()


async def test_first_request_is_told_of_a_disconnect_while_a_later_one_waits(
    app: App, client: Client
) -> None:
    await client.send(GET.replace(b"/ ", b"/wait "))
    await app.begun.wait()
    await client.send(GET)
    client.abort()
    await app.left.wait()


@pytest.mark.parametrize(
    ("text", "answers"), [(GET * 2, 2), (b"GET / HTTP/1.0\r\n\r\n", 1)], ids=["two", "HTTP/1.0"]
)
async def test_all_requests_of_a_connection_are_told_that_the_server_shuts_down(
    app: App, text: bytes, answers: int
) -> None:
    server = LoopbackServer(app, grace_seconds=0)
    async with server.running(), connected(server) as client:
        await client.send(text.replace(b"/ ", b"/wait "))
        await app.begun.wait()
        server.stop()
        assert (await client.read_all()).count(b"HTTP/1.1 503 ") == answers


PIECES = [[], [1], [9], [20], [1, 12, 18]]
"""Where heads are cut."""


def cut(request: bytes, places: list[int]) -> list[bytes]:
    return [request[begin:end] for begin, end in pairwise([0, *places, len(request)])]


@pytest.mark.parametrize("places", PIECES)
@pytest.mark.parametrize("host", [b"", b"Host: h\r\n"])
async def test_answer_for_http_1_0_has_no_chunks(
    client: Client, places: list[int], host: bytes
) -> None:
    text = await answer(client, *cut(b"GET / HTTP/1.0\r\nX: a\r\n" + host + b"\r\n", places))
    assert text.startswith("HTTP/1.1 200 ")
    head, _, body = text.partition("\r\n\r\n")
    assert "transfer-encoding" not in head.lower()
    assert json.loads(body)["path"] == "/"


@pytest.mark.parametrize("places", [*PIECES, [60]])
@pytest.mark.parametrize("body", [b"", b"a"])
async def test_request_that_offers_an_upgrade_is_answered_as_it_is(
    client: Client, body: bytes, places: list[int]
) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    request = b"POST / HTTP/1.1\r\nHost: h\r\n%sContent-Length: %d\r\n\r\n%s"
    for _ in range(2):
        await client.send(*cut(request % (offer, len(body), body), places))
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


REFUSED = b"POST /refused HTTP/1.1\r\nHost: h\r\n"


async def test_endless_body_of_a_refused_request_is_cut_off(client: Client) -> None:
    await client.send(REFUSED + b"Transfer-Encoding: chunked\r\n\r\n")
    assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
    with suppress(ConnectionError):
        while not client.has_ended:
            await client.send(b"100000\r\n" + b"a" * 0x100000 + b"\r\n")


async def test_rest_of_a_body_is_read_after_a_refusal(client: Client) -> None:
    await client.send(REFUSED + b"Content-Length: 5000000\r\n\r\n")
    assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
    await client.send(b"a" * 5_000_000, GET)
    assert (await client.read_until(b"}")).startswith(b"HTTP/1.1 200 ")


async def test_refusal_of_a_request_that_asks_before_it_sends_ends_the_connection(
    app: App, client: Client
) -> None:
    asking = REFUSED + b"Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n"
    refusal = await answer(client, asking)
    assert refusal.startswith("HTTP/1.1 401 ")
    assert "connection: close" in refusal
    assert app.paths == ["/refused"]
