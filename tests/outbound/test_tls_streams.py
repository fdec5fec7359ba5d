"""Streams over TLS: handshakes that fail, protocols, ends of connections, large bodies."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpcore2
import pytest

from local.server import LOOPBACK
from shared.outbound.streams import AsyncioBackend
from tests.outbound.conftest import Authority, Listener
from tests.outbound.connections import SOON, connected


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
