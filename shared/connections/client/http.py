"""The HTTP client of the SDK's transports: sends tokens, limits answers, notes failures."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial

import httpx2

from shared.connections.client.answers import (
    EventFilter,
    HttpTrace,
    Rate,
    SentErrors,
    check_values,
    current_trace,
)
from shared.connections.client.target import Target, TokenSource
from shared.connections.errors import ServerAnswerTooLarge, refusal
from shared.errors import GatewayError
from shared.outbound import EVENT_STREAM, AnswerTooLarge, open_client

MAX_ANSWER_BYTES = 8 * 1024 * 1024
MAX_OPERATION_BYTES = 4 * MAX_ANSWER_BYTES
"""Maximum bytes of all answers to one operation, such as the pages of a list."""

MAX_COOKIES = 50
"""Maximum cookies of a session."""

STREAMS_AT_ONCE, STREAMS_PER_SECOND = 30, 1.0
"""Maximum rate at which a session opens and resumes streams of events."""


def open_http(
    target: Target, auth: httpx2.Auth, max_event_bytes: int, errors: SentErrors
) -> httpx2.AsyncClient:
    """Makes the client of one session.

    Args:
        target: The server.
        auth: Authenticates its requests.
        max_event_bytes: Maximum bytes of one event of a stream.
        errors: Collects the errors that the server sends.
    """
    return open_client(
        allow_private=target.allow_private,
        connect_timeout=target.connect_timeout,
        read_timeout=None,  # Every operation has a deadline of its own.
        auth=auth,
        max_body_bytes=MAX_ANSWER_BYTES,
        limits_events=True,
        wrap=partial(_NotingTransport, max_event_bytes=max_event_bytes, errors=errors),
    )


class TokenAuth(httpx2.Auth):
    """Sends the token to the server's own origin, and asks for another one when it is refused.

    Args:
        tokens: Has the token.
        url: URL of the server.
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
        """Notes the answer to a request after its last retry."""

    async def _token(self, rejected: str | None) -> str | None:
        trace = current_trace.get()
        if trace is not None and trace.failure is not None:
            return None  # Nothing more is sent, so no token is needed.
        try:
            return await self._tokens.token(rejected)
        except GatewayError as error:
            # Raised here it would end the session; noted, it keeps the request from being sent.
            _note(error)
            return None


class SseAuth(TokenAuth):
    """Also detects a refused message, after which the SDK stops sending without raising.

    Args:
        tokens: Has the token.
        url: URL of the server.
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
    trace = current_trace.get()
    if trace is not None:
        trace.fail(error)


class _NotingTransport(httpx2.AsyncBaseTransport):
    """Notes what goes wrong, and answers with 502 in its place.

    Args:
        inner: What sends requests.
        max_event_bytes: Maximum bytes of one event of a stream.
        errors: Collects the errors that the server sends.
    """

    def __init__(
        self, inner: httpx2.AsyncBaseTransport, max_event_bytes: int, errors: SentErrors
    ) -> None:
        self._errors = errors
        self._inner = inner
        self._max_event_bytes = max_event_bytes
        self._streams = Rate(STREAMS_AT_ONCE, STREAMS_PER_SECOND)
        self._cookies_left = MAX_COOKIES

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        trace = current_trace.get()
        if trace is not None and trace.failure is not None:
            return httpx2.Response(502)
        if request.method == "GET":
            # The SDK asks again whenever a stream ends, as fast as the server likes.
            await self._streams.wait()
        try:
            response = await self._inner.handle_async_request(request)
            self._limit_cookies(response.headers)
            if response.headers.get("content-type") == EVENT_STREAM:
                # Streams that are no answer to a request belong to the session.
                asked = trace if request.method == "POST" else None
                response = _with_events(response, self._max_event_bytes, asked, self._errors)
            else:
                response = await _read(response, trace)
                self._errors.note(response.content)
        except AnswerTooLarge as error:
            _note(ServerAnswerTooLarge(error.detail))
            return httpx2.Response(502)
        except (httpx2.HTTPError, GatewayError) as error:
            _note(error)
            return httpx2.Response(502)
        if trace is not None:
            trace.status = response.status_code
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _limit_cookies(self, headers: httpx2.Headers) -> None:
        # Balancers of servers with sessions want theirs back; more would make each request longer.
        self._cookies_left -= len(headers.get_list("set-cookie"))
        if self._cookies_left < 0 and "set-cookie" in headers:
            del headers["set-cookie"]


async def _read(response: httpx2.Response, trace: HttpTrace | None) -> httpx2.Response:
    try:
        body = await response.aread()
    finally:
        await response.aclose()
    _count(body, trace)
    await check_values(body)
    return httpx2.Response(response.status_code, headers=response.headers, content=body)


def _count(data: bytes, trace: HttpTrace | None) -> None:
    if trace is None:
        return
    trace.received += len(data)
    if trace.received > MAX_OPERATION_BYTES:
        raise ServerAnswerTooLarge(
            f"The server's answers to one call are larger than {MAX_OPERATION_BYTES} bytes."
        )


def _with_events(
    response: httpx2.Response,
    max_event_bytes: int,
    trace: HttpTrace | None,
    errors: SentErrors,
) -> httpx2.Response:
    if not isinstance(response.stream, httpx2.AsyncByteStream):
        raise TypeError("An answer must be an asynchronous stream.")
    return httpx2.Response(
        response.status_code,
        headers=response.headers,
        stream=_Events(response.stream, max_event_bytes, trace, errors),
        extensions=response.extensions,
    )


class _Events(httpx2.AsyncByteStream):
    """A stream of events that are cheap to read.

    The SDK could limit their length too, but tells of that as if the server had closed the connection.
    """

    def __init__(
        self,
        stream: httpx2.AsyncByteStream,
        max_event_bytes: int,
        trace: HttpTrace | None,
        errors: SentErrors,
    ) -> None:
        self._errors = errors
        self._stream = stream
        self._trace = trace
        self._filter = EventFilter(max_event_bytes)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for event in self._filter.events(aiter(self._stream)):
                _count(event, self._trace)
                self._errors.note_event(event)
                yield event
        except AnswerTooLarge as error:
            _note(error)
            raise httpx2.SSEError(error.detail) from error

    async def aclose(self) -> None:
        await self._stream.aclose()
