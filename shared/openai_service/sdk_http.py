"""The HTTP client under the SDK, with the limits of `/v1`.

It follows no redirects, bounds what is held in memory, and tells an answer that broke from none at all:
the SDK raises the same for both, and only the second may be asked for again.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx2

from shared.openai_service.forwarded_answer import MAX_ANSWER_BYTES, ForwardedAnswer
from shared.openai_service.provider_config import CONNECT_TIMEOUT_SECONDS
from shared.outbound.pool import operator_transport
from shared.tracing import inject

_IS_STREAMED = "is_streamed"
"""Extension of a request: whether its answer is read piece by piece, and may be of any length."""

_ENCODED_HEADERS = ("content-encoding", "content-length")
"""Headers that no longer apply once the body is decoded."""


class HttpClient(httpx2.AsyncClient):
    """Sends the SDK's requests to one provider, without a timeout but for connecting."""

    def __init__(self) -> None:
        super().__init__(
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_SECONDS),
            transport=_AnswerTransport(operator_transport()),
            event_hooks={"request": [_inject_trace]},
            # Whoever follows one takes the prompt, or the app's key, to another place.
            follow_redirects=False,
        )

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **options: Any
    ) -> httpx2.Response:
        """Sends a request.

        Raises:
            ProviderTruncated: The answer broke after its head; reading it can raise the same.
            ProviderUnavailable: The answer is too large to be held in memory; likewise.
            httpx2.TransportError: No head of an answer came.
        """
        request.extensions = {**request.extensions, _IS_STREAMED: stream}
        return await super().send(request, stream=stream, **options)


class _AnswerTransport(httpx2.AsyncBaseTransport):
    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._transport.handle_async_request(request)
        # Errors are held in memory even where a stream was asked for.
        is_streamed = request.extensions.get(_IS_STREAMED) and response.is_success
        headers = response.headers
        if "content-encoding" in headers:
            headers = httpx2.Headers(headers)
            for name in _ENCODED_HEADERS:
                headers.pop(name, None)
        return httpx2.Response(
            response.status_code,
            headers=headers,
            stream=_Body(response, None if is_streamed else MAX_ANSWER_BYTES),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._transport.aclose()


class _Body(httpx2.AsyncByteStream):
    """The body of an answer, decoded: a small one can unfold to any size."""

    def __init__(self, response: httpx2.Response, limit: int | None) -> None:
        self._response = response
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        answer = ForwardedAnswer(self._response)
        body = answer.chunks() if self._limit is None else answer.limited_chunks(self._limit)
        async with aclosing(body) as chunks:
            async for chunk in chunks:
                yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


async def _inject_trace(request: httpx2.Request) -> None:
    inject(request.headers)
