"""The transport under the client; importing this module imports the HTTP library.

`httpx2.AsyncHTTPTransport` offers no way to give it a network backend, and one put in behind its back
would silently be gone with the next version. So this is a transport of our own over the public pool.
"""

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from functools import lru_cache

import httpcore2
import httpx2

from shared.errors import AnswerTooLarge, ForbiddenAddress
from shared.outbound.network import REMEDY, GuardedBackend
from shared.timing import KEEP_ALIVE_SECONDS

MAX_CONNECTIONS = 20
MAX_HEADERS = 100
"""How many header lines an answer may have: each costs time, and cookies among them are kept."""

MAX_HEADER_BYTES = 16 * 1024
CHUNKS_BETWEEN_YIELDS = 32


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to public https addresses only.

    Args:
        allow_private: Whether http, and loopback, private and carrier networks are allowed too.
        max_body_bytes: How long an answer may be; None for any length.
        unlimited_type: The content type of answers that may be of any length, because what reads them
            limits their parts; None for no type.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        max_body_bytes: int | None = None,
        unlimited_type: str | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._max_body_bytes = max_body_bytes
        self._unlimited_type = unlimited_type
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=_ssl_context(),
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
            network_backend=GuardedBackend(allow_private=allow_private),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends a request.

        Raises:
            ForbiddenAddress: The URL or an address of its host may not be reached; nothing was sent.
            AnswerTooLarge: The answer says that it is too long; reading it can raise the same.
            httpx2.TransportError: The host does not answer, or not properly.
        """
        check_parsed_url(request.url, allow_private=self._allow_private)
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
        with _httpx_errors():
            response = await self._pool.handle_async_request(core_request)
        try:
            headers = _checked_headers(response.headers)
            limit = self._limit(headers)
        except BaseException:
            await response.aclose()
            raise
        return httpx2.Response(
            response.status,
            headers=headers,
            stream=_ResponseStream(response, limit),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._pool.aclose()

    def _limit(self, headers: httpx2.Headers) -> int | None:
        """Returns how many bytes may be read, None for any number."""
        limit = self._max_body_bytes
        if limit is None:
            return None
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            # It could unfold to any size, and was not asked for.
            raise httpx2.DecodingError("The server compressed its answer without being asked to.")
        if self._unlimited_type and headers.get("content-type") == self._unlimited_type:
            return None
        if int(headers.get("content-length", 0)) > limit:
            raise _too_large(limit)
        return limit


class _ResponseStream(httpx2.AsyncByteStream):
    def __init__(self, response: httpcore2.Response, limit: int | None) -> None:
        self._response = response
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = chunks = 0
        with _httpx_errors():
            async for chunk in self._response.aiter_stream():
                received += len(chunk)
                chunks += 1
                if chunks % CHUNKS_BETWEEN_YIELDS == 0:
                    # What one read brings can be thousands of chunks of a byte.
                    await asyncio.sleep(0)
                if self._limit is not None and received > self._limit:
                    raise _too_large(self._limit)
                yield chunk

    async def aclose(self) -> None:
        with _httpx_errors():
            await self._response.aclose()


def check_parsed_url(url: httpx2.URL, *, allow_private: bool) -> None:
    """Makes sure that a URL is one that may be called, as far as that shows without resolving it.

    Raises:
        ForbiddenAddress: It may not.
    """
    schemes = ("https", "http") if allow_private else ("https",)
    if url.scheme not in schemes:
        remedy = f" For http, {REMEDY}." if url.scheme == "http" else ""
        raise ForbiddenAddress(f"The URL must begin with 'https://'.{remedy}")
    if not url.host:
        raise ForbiddenAddress("The URL must name a host.")
    if url.port is not None and not 0 < url.port < 65536:
        raise ForbiddenAddress("The URL's port must be 1 to 65535.")
    if url.userinfo:
        raise ForbiddenAddress("The URL must not hold a user name or a password.")


def _checked_headers(lines: list[tuple[bytes, bytes]]) -> httpx2.Headers:
    """Returns the headers, with the media type alone as the content type.

    Its parameter charset can name any codec of Python's, those that unpack among them.
    """
    if len(lines) > MAX_HEADERS or any(len(value) > MAX_HEADER_BYTES for _, value in lines):
        raise AnswerTooLarge(
            f"The server's answer has more than {MAX_HEADERS} header lines, or one of more than "
            f"{MAX_HEADER_BYTES} bytes."
        )
    headers = httpx2.Headers(lines)
    if "content-type" in headers:
        headers["content-type"] = headers["content-type"].partition(";")[0].strip().lower()
    return headers


def _too_large(max_bytes: int) -> AnswerTooLarge:
    return AnswerTooLarge(f"The server's answer is larger than {max_bytes} bytes.")


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    # SSL_CERT_FILE and SSL_CERT_DIR count, as in the app's other clients: they are the operator's.
    return httpx2.create_ssl_context()


_CORE_ERRORS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Turns what the pool raises into what users of `httpx2` catch; the two name them alike."""
    try:
        yield
    except _CORE_ERRORS as error:
        kind = getattr(httpx2, type(error).__name__, httpx2.TransportError)
        raise kind(str(error)) from error
    except ValueError as error:
        # The parser's, for a length of more digits than Python turns into a number.
        raise httpx2.RemoteProtocolError("The answer is malformed.") from error
