"""Connections of asyncio under the HTTP library: how they end, how long they wait, what they hold."""

import asyncio
import select
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import httpcore2
import httpx2
import pytest

from local.server import LOOPBACK
from shared.outbound.pool import PoolTransport, operator_transport
from shared.outbound.streams import MAX_BUFFERED, AsyncioBackend, AsyncioStream
from tests.outbound.conftest import Authority, Listener, Names, TlsServer

LIMITS = httpx2.Limits(max_connections=10, max_keepalive_connections=5, keepalive_expiry=60)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
SOON = 0.05
"""Seconds that are over before anything else happens."""


class Keeping:
    """A server in threads that answers each request and keeps its connections.

    Attributes:
        origin: Its address.
        requests: How many requests came over each connection, in the order of the connections.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server((LOOPBACK, 0))
        self.origin = f"http://{LOOPBACK}:{self._socket.getsockname()[1]}"
        self.requests: list[int] = []
        self._connections: list[socket.socket] = []

    def serve(self) -> None:
        """Takes connections until the server is closed."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections.append(connection)
            self.requests.append(0)
            arguments = (connection, len(self.requests) - 1)
            threading.Thread(target=self._answer, args=arguments, daemon=True).start()

    def _answer(self, connection: socket.socket, number: int) -> None:
        with connection:
            while received := connection.recv(65536):
                if b" HTTP/1.1\r\n" in received:
                    self.requests[number] += 1
                    connection.sendall(ANSWER)

    def say(self, words: bytes) -> None:
        """Sends something unasked for on all connections."""
        for connection in self._connections:
            connection.sendall(words)

    def hang_up(self) -> None:
        """Ends all connections, as a server does that keeps idle ones for a while only."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends the server."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.hang_up()


@pytest.fixture
def keeping() -> Iterator[Keeping]:
    server = Keeping()
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.close()
    thread.join()


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=operator_transport(LIMITS), timeout=10) as client:
        yield client


@asynccontextmanager
async def connected(
    timeout: float | None = None,  # noqa: ASYNC109 - of the library's interface
) -> AsyncIterator[tuple[httpcore2.AsyncNetworkStream, socket.socket]]:
    """A stream, and the server's end of its connection."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        port = listening.getsockname()[1]
        stream = await AsyncioBackend().connect_tcp(LOOPBACK, port, timeout)
        end, _ = listening.accept()
        with end:
            end.setblocking(False)
            yield stream, end
            await stream.aclose()


def wait_for_arrival(stream: httpcore2.AsyncNetworkStream) -> None:
    """Blocks the event loop until something is there to be read."""
    wait_for_arrival_at(stream.get_extra_info("socket"))


def wait_for_arrival_at(end: socket.socket) -> None:
    """Blocks the event loop until something is there to be read at the other end."""
    assert select.select([end], [], [], 10)[0]


async def test_connection_is_used_again(client: httpx2.AsyncClient, keeping: Keeping) -> None:
    for _ in range(3):
        assert (await client.get(keeping.origin)).text == "ok"
    assert keeping.requests == [3]


async def test_connection_that_the_server_has_closed_is_not_used_again(
    client: httpx2.AsyncClient, keeping: Keeping
) -> None:
    response = await client.get(keeping.origin)
    keeping.hang_up()
    # Nothing is awaited: asyncio has no occasion to see it.
    wait_for_arrival(response.extensions["network_stream"])
    assert (await client.post(keeping.origin, content=b"paid")).text == "ok"
    assert keeping.requests == [1, 1]


async def test_connection_whose_end_asyncio_has_seen_is_not_used_again(
    client: httpx2.AsyncClient, keeping: Keeping
) -> None:
    response = await client.get(keeping.origin)
    keeping.hang_up()
    wait_for_arrival(response.extensions["network_stream"])
    for _ in range(3):
        await asyncio.sleep(0)
    assert (await client.post(keeping.origin, content=b"paid")).text == "ok"
    assert keeping.requests == [1, 1]


async def test_connection_on_which_the_server_speaks_unasked_is_not_used_again(
    client: httpx2.AsyncClient, keeping: Keeping
) -> None:
    response = await client.get(keeping.origin)
    keeping.say(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
    wait_for_arrival(response.extensions["network_stream"])
    for _ in range(3):
        await asyncio.sleep(0)
    assert (await client.get(keeping.origin)).status_code == 200
    assert keeping.requests == [1, 1]


async def test_ends_and_closing_of_a_connection_are_told() -> None:
    async with connected() as (stream, end):
        assert not stream.get_extra_info("is_readable")
        assert stream.get_extra_info("server_addr") == end.getsockname()
        assert stream.get_extra_info("client_addr") == end.getpeername()
        assert stream.get_extra_info("socket").getsockname() == end.getpeername()
        assert stream.get_extra_info("ssl_object") is None
        assert stream.get_extra_info("else") is None
        end.sendall(b"last words")
        end.shutdown(socket.SHUT_WR)
        assert await stream.read(4) == b"last"
        assert await stream.read(100) == b" words"
        assert await stream.read(100) == b""
        assert stream.get_extra_info("is_readable")
        with pytest.raises(httpcore2.ConnectionNotAvailable):
            await stream.write(b"request")
        await stream.aclose()
        with pytest.raises(httpcore2.ReadError):
            await stream.read(100)
        with pytest.raises(httpcore2.WriteError):
            await stream.write(b"again")
        assert stream.get_extra_info("is_readable")


async def test_server_that_sends_no_more_may_still_be_sent_something() -> None:
    async with connected() as (stream, end):
        end.shutdown(socket.SHUT_WR)
        assert await stream.read(100) == b""
        await stream.write(b"more")
        wait_for_arrival_at(end)
        assert end.recv(100) == b"more"


async def test_request_is_not_begun_on_an_idle_connection_that_the_server_has_just_closed() -> None:
    async with connected() as (stream, end):
        assert not stream.get_extra_info("is_readable")
        end.sendall(b"last words")
        wait_for_arrival(stream)
        with pytest.raises(httpcore2.ConnectionNotAvailable):
            await stream.write(b"request")


async def test_connection_in_use_is_written_to_although_something_has_arrived() -> None:
    async with connected() as (stream, end):
        for _ in range(2):
            end.sendall(b"words")
            wait_for_arrival(stream)
            await stream.write(b"more")
            assert await stream.read(100) == b"words"


async def test_connection_that_is_reset_is_an_error_after_what_came_before() -> None:
    async with connected() as (stream, end):
        end.sendall(b"all that came")
        await asyncio.sleep(0)
        reading = asyncio.ensure_future(stream.read(100))
        assert await reading == b"all that came"
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        end.close()
        with pytest.raises(httpcore2.ReadError) as raised:
            await stream.read(100)
        assert isinstance(raised.value.__cause__, ConnectionResetError)
        with pytest.raises(httpcore2.WriteError):
            await stream.write(b"more")


async def test_silence_runs_into_the_timeout_of_reading() -> None:
    async with connected() as (stream, end):
        with pytest.raises(httpcore2.ReadTimeout):
            await stream.read(100, SOON)
        end.sendall(b"late")
        assert await stream.read(100, 10) == b"late"


async def test_server_that_reads_nothing_runs_into_the_timeout_of_writing() -> None:
    async with connected() as (stream, _):
        with pytest.raises(httpcore2.WriteTimeout):
            await stream.write(bytes(64 * 1024 * 1024), SOON)


async def test_writing_waits_for_a_server_that_reads_slowly() -> None:
    whole = bytes(range(256)) * 64 * 1024
    async with connected() as (stream, end):
        writing = asyncio.ensure_future(stream.write(whole))
        received = bytearray()
        while len(received) < len(whole):
            await asyncio.sleep(0)
            with suppress(BlockingIOError):
                received += end.recv(65536)
        await writing
    assert received == whole


async def test_connection_that_breaks_while_it_is_written_to_is_an_error() -> None:
    async with connected() as (stream, end):
        writing = asyncio.ensure_future(stream.write(bytes(32 * 1024 * 1024)))
        await asyncio.sleep(0)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        end.close()
        with pytest.raises(httpcore2.WriteError):
            await writing


async def test_nothing_is_taken_that_nobody_reads() -> None:
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    far.setblocking(False)
    loop = asyncio.get_running_loop()
    _, stream = await loop.create_connection(AsyncioStream, sock=near)
    sent = 0
    with far:
        idle = 0
        while idle < 10:
            try:
                sent += far.send(bytes(16 * 1024))
                idle = 0
            except BlockingIOError:
                idle += 1
            await asyncio.sleep(0)
        assert sent < MAX_BUFFERED * 16
        far.shutdown(socket.SHUT_WR)
        received = 0
        while data := await stream.read(10_000):
            assert len(data) <= 10_000
            received += len(data)
    assert received == sent
    await stream.aclose()


async def test_cancelled_reading_loses_nothing() -> None:
    async with connected() as (stream, end):
        reading = asyncio.ensure_future(stream.read(100))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        end.sendall(b"kept")
        assert await stream.read(100) == b"kept"


async def test_refused_connection_is_an_error_with_its_reason(unused_port: int) -> None:
    for host in (LOOPBACK, "localhost"):
        with pytest.raises(httpcore2.ConnectError) as raised:
            await AsyncioBackend().connect_tcp(host, unused_port, 10)
        assert isinstance(raised.value.__cause__, ConnectionRefusedError)


@pytest.mark.parametrize("host", ["does-not-exist.invalid", "x" * 64 + ".example"])
async def test_name_without_an_address_is_an_error(host: str) -> None:
    with pytest.raises(httpcore2.ConnectError):
        await AsyncioBackend().connect_tcp(host, 443, 10)


async def test_next_address_of_a_name_is_tried(names: Names, listener: Listener) -> None:
    names.define("two.example", ["::1", "127.0.0.9", LOOPBACK])
    stream = await AsyncioBackend().connect_tcp("two.example", listener.port, 10)
    assert stream.get_extra_info("server_addr") == (LOOPBACK, listener.port)
    await stream.aclose()


async def test_connection_comes_from_the_given_address_with_the_given_options(
    listener: Listener,
) -> None:
    stream = await AsyncioBackend().connect_tcp(
        LOOPBACK, listener.port, 10, "127.0.0.5", [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    )
    assert stream.get_extra_info("client_addr")[0] == "127.0.0.5"
    connected = stream.get_extra_info("socket")
    assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    # Else a small request waits for the acknowledgement of the one before it.
    assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    await stream.aclose()


@contextmanager
def in_thread(run: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


async def test_server_that_does_not_shake_hands_runs_into_the_timeout_of_connecting(
    listener: Listener,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stream = await AsyncioBackend().connect_tcp(LOOPBACK, listener.port, 10)
    with pytest.raises(httpcore2.ConnectTimeout):
        await stream.start_tls(context, "name.example", SOON)
    with pytest.raises(httpcore2.WriteError):
        await stream.write(b"plain")


async def test_words_before_the_handshake_do_not_pass_for_words_after_it() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with connected() as (stream, end):
        end.sendall(b"first words, and more")
        assert await stream.read(5) == b"first"
        with pytest.raises(httpcore2.ConnectError):
            await stream.start_tls(context, "name.example", 10)
        with pytest.raises(httpcore2.WriteError):
            await stream.write(b"plain")


@pytest.mark.parametrize("is_seen", [True, False])
async def test_server_that_leaves_in_the_handshake_is_an_error(is_seen: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with connected() as (stream, end):
        end.shutdown(socket.SHUT_WR)
        if is_seen:
            assert await stream.read(100) == b""
        with pytest.raises(httpcore2.ConnectError):
            await stream.start_tls(context, "name.example", 10)


class Shaking:
    """A server that shakes hands on one connection, and then does what it is told to.

    Attributes:
        stream: The client's end, once both have shaken hands.
        end: The server's end.
    """

    def __init__(self, authority: Authority, *protocols: str) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(authority.issue(LOOPBACK))
        self._context.set_alpn_protocols(protocols)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[httpcore2.AsyncNetworkStream, ssl.SSLSocket]]:
        """A stream over TLS, and the server's end of its connection."""
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        with socket.create_server((LOOPBACK, 0)) as listening:
            port = listening.getsockname()[1]
            stream = await AsyncioBackend().connect_tcp(LOOPBACK, port, 10)
            end, _ = listening.accept()
            shaken, stream = await asyncio.gather(
                asyncio.to_thread(self._context.wrap_socket, end, server_side=True),
                stream.start_tls(context, LOOPBACK, 10),
            )
            with shaken:
                yield stream, shaken
                await stream.aclose()


async def test_protocol_is_agreed_upon_in_the_handshake(trusted_authority: Authority) -> None:
    async with Shaking(trusted_authority, "h2", "http/1.1").connected() as (stream, end):
        ssl_object = stream.get_extra_info("ssl_object")
        assert ssl_object.selected_alpn_protocol() == "http/1.1"
        await stream.write(b"question")
        assert end.recv(100) == b"question"
        end.sendall(b"answer")
        assert await stream.read(100) == b"answer"
        assert not stream.get_extra_info("is_readable")


@pytest.mark.parametrize("is_polite", [True, False])
async def test_end_of_a_connection_over_tls_is_told(
    trusted_authority: Authority, is_polite: bool
) -> None:
    async with Shaking(trusted_authority).connected() as (stream, end):
        end.sendall(b"last words")
        if is_polite:
            end.setblocking(False)
            with pytest.raises(ssl.SSLWantReadError):
                end.unwrap()
        else:
            end.shutdown(socket.SHUT_WR)
        assert await stream.read(100) == b"last words"
        assert await stream.read(100) == b""
        assert stream.get_extra_info("is_readable")


async def test_large_bodies_pass_whole_over_tls(trusted_authority: Authority) -> None:
    whole = bytes(range(256)) * 32 * 1024

    def echo(end: ssl.SSLSocket) -> None:
        received = bytearray()
        while len(received) < len(whole):
            received += end.recv(65536)
        end.sendall(received)

    async with Shaking(trusted_authority).connected() as (stream, end):
        with in_thread(lambda: echo(end)):
            await stream.write(whole)
            received = bytearray()
            while len(received) < len(whole):
                received += await stream.read(65536)
    assert received == whole


async def test_operators_certificates_are_trusted(
    trusted_authority: Authority, client: httpx2.AsyncClient
) -> None:
    with TlsServer(trusted_authority.issue(LOOPBACK)).running() as server:
        assert (await client.get(f"https://{LOOPBACK}:{server.port}/")).text == "ok"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
def test_proxies_of_the_environment_are_left_to_the_library(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert isinstance(operator_transport(LIMITS), PoolTransport)
    monkeypatch.setenv(name, "http://proxy.example:3128")
    assert not isinstance(operator_transport(LIMITS), PoolTransport)
