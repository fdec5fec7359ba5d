"""Connections of asyncio under the HTTP library, whose own go through anyio.

The library asks each idle connection whether its server has closed it, whenever any request begins or
ends. Through anyio each answer is a search for the socket, with calls of the system: with 64 requests at
once that was a fifth of the processor's time. Here the answer is at hand, and the system is asked once,
when a connection is used again.
"""

import asyncio
import ipaddress
import select
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, cast

import httpcore2
from aiohappyeyeballs import AddrInfoType, addr_to_addr_infos, start_connection

MAX_BUFFERED = 64 * 1024
"""How many bytes may wait for being read before no more are taken from the socket."""

FALLBACK_DELAY_SECONDS = 0.25
"""How long one address of a name may take before another one is tried beside it (RFC 8305)."""


class AsyncioBackend(httpcore2.AsyncNetworkBackend):
    """Connects over TCP."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolves the name and connects to the address that answers first.

        Args:
            host: A name or an address.
            port: The port.
            timeout: Seconds for all of it; None for any.
            local_address: Where to connect from.
            socket_options: Options of the socket.

        Raises:
            httpcore2.ConnectError: The name has no address, or none of them answers.
            httpcore2.ConnectTimeout: Time is up.
        """
        async with _connecting(timeout):
            connected = await start_connection(
                await _resolve(host, port),
                local_addr_infos=addr_to_addr_infos((local_address, 0) if local_address else None),
                happy_eyeballs_delay=FALLBACK_DELAY_SECONDS,
            )
            loop = asyncio.get_running_loop()
            try:
                for option in socket_options or ():
                    connected.setsockopt(*option)
                _, stream = await loop.create_connection(AsyncioStream, sock=connected)
            except BaseException:
                connected.close()
                raise
        return stream

    async def sleep(self, seconds: float) -> None:
        """Waits between attempts."""
        await asyncio.sleep(seconds)


class AsyncioStream(asyncio.Protocol, httpcore2.AsyncNetworkStream):
    """A connection, with or without TLS: asyncio calls it as a protocol, the library as a stream."""

    def __init__(self) -> None:
        self._transport = cast(asyncio.Transport, None)
        self._received = bytearray()
        self._arrival: asyncio.Future[None] | None = None
        self._is_drained = asyncio.Event()
        self._is_drained.set()
        # Set when the pool asks for the state, which it asks of idle connections only: the next write
        # then begins a request.
        self._is_idle = False
        self._is_paused = self._is_ended = self._is_closed = self._is_tls = False
        self._error: Exception | None = None
        self._is_socket_readable: Callable[[], object] = _is_nothing_there

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Returns what has arrived, as soon as something has; nothing where the server sends no more.

        Raises:
            httpcore2.ReadError: The connection broke, or was closed on this side.
            httpcore2.ReadTimeout: Nothing arrived in time.
        """
        received = self._received
        if not received and not self._is_ended:
            await self._await_arrival(timeout)
        if not received:
            if self._is_closed or self._error:
                raise httpcore2.ReadError(str(self._error or "closed")) from self._error
            return b""
        if len(received) <= max_bytes:
            data = bytes(received)
            received.clear()
        else:
            data = bytes(received[:max_bytes])
            del received[:max_bytes]
        if self._is_paused and len(received) <= MAX_BUFFERED:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Sends bytes, and returns when the system has taken all but a few of them.

        Raises:
            httpcore2.ConnectionNotAvailable: It was idle, and the server has closed it meanwhile.
            httpcore2.WriteError: The connection broke, or is closed.
            httpcore2.WriteTimeout: They were not taken in time.
        """
        if not buffer:
            return
        if self._is_idle:
            self._is_idle = False
            if self._transport.is_closing() or self._is_socket_readable():
                # Nothing of the request has been sent: the pool sends it over another connection.
                raise httpcore2.ConnectionNotAvailable
        if not self._transport.is_closing():
            self._transport.write(buffer)
            if not self._is_drained.is_set():
                with _time_limit(httpcore2.WriteTimeout):
                    async with asyncio.timeout(timeout):
                        await self._is_drained.wait()
        if self._transport.is_closing():
            raise httpcore2.WriteError(str(self._error or "closed")) from self._error

    async def aclose(self) -> None:
        """Closes the connection at once."""
        self._is_closed = True
        self._transport.abort()
        # The socket is closed by what asyncio does next.
        await asyncio.sleep(0)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's interface
    ) -> httpcore2.AsyncNetworkStream:
        """Encrypts the connection from here on; it is closed where that fails.

        Raises:
            httpcore2.ConnectError: The handshake failed, or the certificate is refused.
            httpcore2.ConnectTimeout: Time is up.
        """
        loop = asyncio.get_running_loop()
        plain = self._transport
        try:
            async with _connecting(timeout):
                if self._received:
                    # It would pass for what the server says after the handshake.
                    raise ConnectionAbortedError("The server does not wait for the handshake.")
                self._is_tls = True
                encrypted = await loop.start_tls(
                    plain, self, ssl_context, server_hostname=server_hostname
                )
                if encrypted is None:
                    raise ConnectionResetError("The connection ended with the handshake.")
        except BaseException:
            self._is_closed = True
            plain.abort()
            raise
        self._transport = encrypted
        return self

    def get_extra_info(self, info: str) -> Any:
        """Returns what the library asks of a connection.

        Args:
            info: ``is_readable`` asks an idle connection whether anything is there to be read, which can
                only be its end. The pool asks all of them whenever a request begins or ends, so the
                answer is what asyncio has seen. The system is asked when one is used again.
        """
        match info:
            case "is_readable":
                self._is_idle = True
                return self._is_ended or bool(self._received)
            case "client_addr":
                return self._transport.get_extra_info("sockname")
            case "server_addr":
                return self._transport.get_extra_info("peername")
            case "ssl_object" | "socket":
                return self._transport.get_extra_info(info)
        return None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the connection; asyncio calls this once, and not again after `start_tls`."""
        self._transport = cast(asyncio.Transport, transport)
        self._is_socket_readable = _readability(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Takes what has arrived."""
        self._received += data
        if len(self._received) > MAX_BUFFERED and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake_reader()

    def eof_received(self) -> bool:
        """Notes that the server sends no more, and says whether it may still be sent something."""
        self._is_ended = True
        self._wake_reader()
        # It may have answered before it has read the whole request. Over TLS asyncio always closes.
        return not self._is_tls

    def connection_lost(self, exc: Exception | None) -> None:
        """Notes the end of the connection."""
        self._error = exc
        self._is_ended = True
        self._wake_reader()
        self._is_drained.set()

    def pause_writing(self) -> None:
        """Has writers wait."""
        self._is_drained.clear()

    def resume_writing(self) -> None:
        """Lets writers go on."""
        self._is_drained.set()

    async def _await_arrival(self, timeout: float | None) -> None:  # noqa: ASYNC109
        self._arrival = asyncio.get_running_loop().create_future()
        try:
            if timeout is None:
                await self._arrival
                return
            with _time_limit(httpcore2.ReadTimeout):
                async with asyncio.timeout(timeout):
                    await self._arrival
        finally:
            self._arrival = None

    def _wake_reader(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


@contextmanager
def _time_limit(kind: type[httpcore2.TimeoutException]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise kind from error


@asynccontextmanager
async def _connecting(timeout: float | None) -> AsyncIterator[None]:  # noqa: ASYNC109
    """Turns what asyncio raises in the block into the library's errors of connecting."""
    try:
        with _time_limit(httpcore2.ConnectTimeout):
            async with asyncio.timeout(timeout):
                yield
    except (OSError, UnicodeError) as error:
        # A host that cannot be encoded cannot be resolved.
        raise httpcore2.ConnectError(str(error)) from error


async def _resolve(host: str, port: int) -> Sequence[AddrInfoType]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        loop = asyncio.get_running_loop()
        # asyncio sends small requests without delay only where the protocol is named.
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    # Without a thread.
    return addr_to_addr_infos((host, port)) or ()


def _is_nothing_there() -> bool:
    return False


def _readability(transport: socket.socket) -> Callable[[], object]:
    """Returns what tells whether something has arrived that asyncio has not taken yet."""
    if sys.platform == "win32":
        return lambda: select.select([transport], [], [], 0)[0]
    poll = select.poll()
    poll.register(transport, select.POLLIN)
    return partial(poll.poll, 0)
