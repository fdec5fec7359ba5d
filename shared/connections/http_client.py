"""The HTTP client under the SDK's transports: signs requests, limits answers, notes what goes wrong."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial

import httpx2

from shared.connections.errors import refusal
from shared.connections.exchange import current_exchange
from shared.connections.targets import Target, TokenSource
from shared.errors import GatewayError
from shared.outbound import AnswerTooLarge, open_client

MAX_ANSWER_BYTES = 8 * 1024 * 1024
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")


def open_http(target: Target, auth: httpx2.Auth, max_event_bytes: int) -> httpx2.AsyncClient:
    """Makes the client of one session.

    Args:
        target: The server.
        auth: Signs its requests.
        max_event_bytes: How long one event of a stream may be.
    """
    return open_client(
        allow_private=target.allow_private,
        connect_timeout=target.connect_timeout,
        read_timeout=None,  # Every operation has a deadline of its own.
        auth=auth,
        max_body_bytes=MAX_ANSWER_BYTES,
        wrap=partial(_NotingTransport, max_event_bytes=max_event_bytes),
    )


class TokenAuth(httpx2.Auth):
    """Sends the token to the server's own origin, and asks for another one when it is refused.

    Args:
        tokens: Has the token.
        url: Where the server is.
    """

    def __init__(self, tokens: TokenSource, url: httpx2.URL) -> None:
        self._tokens = tokens
        self._origin = url.origin

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Sends a request, and once more with another token where that helps."""
        if request.url.origin != self._origin:
            yield request
            return
        token = await self._token(None)
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401 and token is not None:
            fresh = await self._token(token)
            if fresh is not None and fresh != token:
                request.headers["Authorization"] = f"Bearer {fresh}"
                response = yield request
        self._note_answer(request, response)

    def _note_answer(self, request: httpx2.Request, response: httpx2.Response) -> None:
        """Is told the last word on a request."""

    async def _token(self, rejected: str | None) -> str | None:
        exchange = current_exchange.get()
        if exchange is not None and exchange.failure is not None:
            return None  # Nothing more is sent, so nobody need be asked for a token.
        try:
            return await self._tokens.token(rejected)
        except GatewayError as error:
            # Raised here it would end the session; noted, it keeps the request from being sent.
            _note(error)
            return None


class SseAuth(TokenAuth):
    """Notices as well where a server refuses a message: the SDK then gives up sending, and tells nobody.

    Args:
        tokens: Has the token.
        url: Where the server is.
        retire: Called then.
    """

    def __init__(self, tokens: TokenSource, url: httpx2.URL, retire: Callable[[], None]) -> None:
        super().__init__(tokens, url)
        self._retire = retire

    def _note_answer(self, request: httpx2.Request, response: httpx2.Response) -> None:
        if request.method == "POST" and response.is_error:
            _note(refusal(response.status_code))
            self._retire()


def _note(error: Exception) -> None:
    exchange = current_exchange.get()
    if exchange is not None:
        exchange.fail(error)


class _NotingTransport(httpx2.AsyncBaseTransport):
    """Notes what goes wrong, and answers with 502 in its place.

    Args:
        inner: What sends requests.
        max_event_bytes: How long one event of a stream may be.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, max_event_bytes: int) -> None:
        self._inner = inner
        self._max_event_bytes = max_event_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = current_exchange.get()
        if exchange is not None and exchange.failure is not None:
            return httpx2.Response(502)
        try:
            response = await self._inner.handle_async_request(request)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                response = _with_events(response, self._max_event_bytes)
            else:
                response = await _read(response)
        except (httpx2.HTTPError, GatewayError) as error:
            _note(error)
            return httpx2.Response(502)
        if exchange is not None:
            exchange.status = response.status_code
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _read(response: httpx2.Response) -> httpx2.Response:
    try:
        body = await response.aread()
    finally:
        await response.aclose()
    return httpx2.Response(response.status_code, headers=response.headers, content=body)


def _with_events(response: httpx2.Response, max_event_bytes: int) -> httpx2.Response:
    if not isinstance(response.stream, httpx2.AsyncByteStream):
        raise TypeError("An answer must be an asynchronous stream.")
    return httpx2.Response(
        response.status_code,
        headers=response.headers,
        stream=_Events(response.stream, max_event_bytes),
        extensions=response.extensions,
    )


class _Events(httpx2.AsyncByteStream):
    """A stream of which no event may be too long.

    The SDK could limit them too, but tells of that as if the server had closed the connection.
    """

    def __init__(self, stream: httpx2.AsyncByteStream, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size, tail = 0, b""
        async for chunk in self._stream:
            ends = [match.end() for match in _BLANK_LINE.finditer(tail + chunk)]
            size = len(tail + chunk) - ends[-1] if ends else size + len(chunk)
            if size > self._limit:
                error = AnswerTooLarge(f"The server's answer is larger than {self._limit} bytes.")
                _note(error)
                raise httpx2.SSEError(error.detail)
            tail = (tail + chunk)[-3:]
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
