"""The transport to addresses that others name; importing this module imports the HTTP library."""

import asyncio
from collections.abc import AsyncIterator

import httpcore2
import httpx2

from shared.errors import AnswerTooLarge, ForbiddenAddress
from shared.outbound.network import REMEDY, GuardedBackend
from shared.outbound.pool import PoolTransport, ResponseStream, httpx_errors
from shared.timing import KEEP_ALIVE_SECONDS

MAX_CONNECTIONS = 20
MAX_HEADERS = 100
"""How many header lines an answer may have: each costs time, and cookies among them are kept."""

MAX_HEADER_BYTES = 16 * 1024
CHUNKS_BETWEEN_YIELDS = 32


class GuardedTransport(PoolTransport):
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
        super().__init__(
            httpx2.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_SECONDS),
            GuardedBackend(allow_private=allow_private),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends a request.

        Raises:
            ForbiddenAddress: The URL or an address of its host may not be reached; nothing was sent.
            AnswerTooLarge: The answer says that it is too long; reading it can raise the same.
            httpx2.TransportError: The host does not answer, or not properly.
        """
        check_parsed_url(request.url, allow_private=self._allow_private)
        response = await self.send(request)
        try:
            headers = _checked_headers(response.headers)
            limit = self._limit(headers)
        except BaseException:
            await response.aclose()
            raise
        return httpx2.Response(
            response.status,
            headers=headers,
            stream=_LimitedStream(response, limit),
            extensions=response.extensions,
        )

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


class _LimitedStream(ResponseStream):
    def __init__(self, response: httpcore2.Response, limit: int | None) -> None:
        super().__init__(response)
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = chunks = 0
        with httpx_errors():
            async for chunk in self._response.aiter_stream():
                received += len(chunk)
                chunks += 1
                if chunks % CHUNKS_BETWEEN_YIELDS == 0:
                    # What one read brings can be thousands of chunks of a byte.
                    await asyncio.sleep(0)
                if self._limit is not None and received > self._limit:
                    raise _too_large(self._limit)
                yield chunk


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
