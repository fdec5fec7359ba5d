"""The transport under the clients: a pool of connections of asyncio.

`httpx2.AsyncHTTPTransport` offers no way to give it a network backend, and one put in behind its back
would silently be gone with the next version. So this is a transport of our own over the public pool.
"""

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast
from urllib.request import getproxies

import httpcore2
import httpx2

from shared.errors import UnusableEnvironment
from shared.outbound.streams import AsyncioBackend
from shared.timing import KEEP_ALIVE_SECONDS

MAX_PROVIDER_CONNECTIONS = 1000
"""To one provider at a time; a request more waits for one of them."""

MAX_IDLE_PROVIDER_CONNECTIONS = 100
"""How many of them are kept for later requests, for `KEEP_ALIVE_SECONDS`."""


class PoolTransport(httpx2.AsyncBaseTransport):
    """Sends requests over a pool of connections.

    Args:
        limits: How many connections there are, and how long idle ones are kept.
        backend: Opens the connections; by default to any address.
    """

    def __init__(
        self, limits: httpx2.Limits, backend: httpcore2.AsyncNetworkBackend | None = None
    ) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=_ssl_context(),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=backend or AsyncioBackend(),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends a request.

        Raises:
            httpx2.TransportError: The host does not answer, or not properly.
        """
        response = await self.send(request)
        return httpx2.Response(
            response.status,
            headers=response.headers,
            stream=ResponseStream(response),
            extensions=response.extensions,
        )

    async def send(self, request: httpx2.Request) -> httpcore2.Response:
        """Sends a request and returns the answer as the pool does.

        Raises:
            httpx2.TransportError: The host does not answer, or not properly.
        """
        if not isinstance(request.stream, AsyncIterable):
            raise TypeError("The body of a request must be an asynchronous iterable.")
        core_request = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with httpx_errors():
            return await self._pool.handle_async_request(core_request)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._pool.aclose()


class ResponseStream(httpx2.AsyncByteStream):
    """The body of an answer, as it comes."""

    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with httpx_errors():
            # The SDK may begin to read again what it has read to its end.
            async for chunk in cast(AsyncIterable[bytes], self._response.stream):
                yield chunk

    async def aclose(self) -> None:
        """Ends the answer.

        Its connection is kept if the answer was read to its end, and nothing came behind it.
        """
        if self._is_closed:
            # By now the connection may be another request's.
            return
        self._is_closed = True
        parser = _parser(self._response.stream)
        with httpx_errors():
            try:
                if parser is None:
                    await self._response.extensions["network_stream"].aclose()
                elif parser.trailing_data[0]:
                    # The pool keeps connections that their parser takes for sound.
                    parser.send_failed()
            finally:
                await self._response.aclose()


def _parser(stream: object) -> Any:
    """Returns the parser of the connection under an answer, None where it is not to be found.

    What a server sends behind an answer must not be taken for the next one (RFC 9112, section 6.3),
    which on a shared connection is the answer to somebody else. The pool would: it leaves such bytes in
    the parser, offers no way to ask for them, and `AsyncioStream` no longer has them. So this reaches
    into the pool; where another version of it is built otherwise, no connection is used again.
    """
    for name in ("_stream", "_connection", "_h11_state"):
        stream = getattr(stream, name, None)
    return stream


def operator_transport() -> httpx2.AsyncBaseTransport:
    """Returns a transport to one provider, at an address that the operator names.

    Raises:
        UnusableEnvironment: A variable that names certificates or a proxy cannot be used.
    """
    proxies = getproxies()
    if kinds := [kind for kind in ("http", "https", "all") if proxies.get(kind)]:
        try:
            return _EnvironmentTransport()
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            names = ", ".join(f"{kind.upper()}_PROXY" for kind in kinds)
            # Without its value, which may hold a password.
            raise UnusableEnvironment(
                f"The proxy in {names} cannot be used. It must be 'http://HOST:PORT' or "
                "'https://HOST:PORT'; SOCKS is not supported."
            ) from error
    return PoolTransport(
        httpx2.Limits(
            max_connections=MAX_PROVIDER_CONNECTIONS,
            max_keepalive_connections=MAX_IDLE_PROVIDER_CONNECTIONS,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
        )
    )


class _EnvironmentTransport(httpx2.AsyncBaseTransport):
    """Leaves it to the library for which hosts the proxies of the environment are used.

    No connection is used again: what a server sends behind an answer may lie in the library's own
    streams, unseen, and would be taken for the answer to the next request.
    """

    def __init__(self) -> None:
        limits = httpx2.Limits(
            max_connections=MAX_PROVIDER_CONNECTIONS, max_keepalive_connections=0
        )
        self._client = httpx2.AsyncClient(
            verify=_ssl_context(), limits=limits, follow_redirects=False
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        await self._client.aclose()


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    # SSL_CERT_FILE and SSL_CERT_DIR count, as in the app's other clients: they are the operator's.
    try:
        return httpx2.create_ssl_context()
    except OSError as error:
        raise UnusableEnvironment(
            "The certificates to trust cannot be loaded. SSL_CERT_FILE must name a readable file with "
            "certificates in PEM format, or be unset."
        ) from error


_CORE_ERRORS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)


@contextmanager
def httpx_errors() -> Iterator[None]:
    """Turns what the pool raises into what users of `httpx2` catch; the two name them alike."""
    try:
        yield
    except _CORE_ERRORS as error:
        kind = getattr(httpx2, type(error).__name__, httpx2.TransportError)
        raise kind(str(error)) from error
    except ValueError as error:
        # The parser's, for a length of more digits than Python turns into a number.
        raise httpx2.RemoteProtocolError("The answer is malformed.") from error
