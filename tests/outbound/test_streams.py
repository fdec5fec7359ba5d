"""Streams of asyncio under the HTTP library: how they end, how long they wait, what they hold."""

import asyncio
import socket
from contextlib import suppress

import httpcore2
import pytest

from local.server import LOOPBACK
from shared.outbound.streams import MAX_BUFFERED, AsyncioBackend, AsyncioStream
from tests.outbound.conftest import Listener, Names
from tests.outbound.connections import SOON, connected, wait_for_arrival, wait_for_arrival_at


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
