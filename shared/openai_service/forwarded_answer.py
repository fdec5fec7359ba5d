"""A provider's answer to a request that was forwarded: its bytes, or its error."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from pydantic_core import from_json

from shared.errors import (
    FIRST_CLIENT_ERROR,
    FIRST_SERVER_ERROR,
    ForwardedError,
    ProviderError,
    ProviderNotFound,
    ProviderRejected,
    ProviderUnavailable,
)

if TYPE_CHECKING:
    import httpx2

MAX_ANSWER_BYTES = 128 * 1024 * 1024
"""Maximum bytes of an answer that is held in memory: ten large pictures in base64."""

MAX_ERROR_BYTES = 64 * 1024
"""Maximum bytes that are read of an answer that is an error."""

LAST_STATUS = 599
"""The last status that HTTP has; servers send no other."""

_REQUEST_TIMEOUT = 408
_TOO_MANY_REQUESTS = 429


class ForwardedAnswer:
    """A provider's answer, whose body has not been read yet.

    Attributes:
        status: The HTTP status.
        headers: The headers, by their names in lower case.
    """

    def __init__(self, response: "httpx2.Response") -> None:
        self._response = response
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers

    async def read(self, limit: int) -> bytes:
        """Returns the whole body.

        Raises:
            ProviderUnavailable: It has more than ``limit`` bytes.
            ProviderTruncated: The connection broke.
        """
        return b"".join([chunk async for chunk in self.limited_chunks(limit)])

    async def limited_chunks(self, limit: int) -> AsyncGenerator[bytes, None]:
        """Yields the body as it comes, up to a number of bytes.

        Raises:
            ProviderUnavailable: It has more than ``limit`` bytes.
            ProviderTruncated: The connection broke.
        """
        size = 0
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise ProviderUnavailable(
                        f"The provider's answer has more than {limit} bytes. Ask for less."
                    )
                yield chunk

    async def beginning(self, limit: int) -> bytes:
        """Returns the body, of which no more than ``limit`` bytes are read.

        Raises:
            ProviderTruncated: The connection broke.
        """
        read = bytearray()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                read += chunk
                if len(read) >= limit:
                    break
        return bytes(read[:limit])

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yields the body as it comes, without the encoding of its transfer.

        Raises:
            ProviderTruncated: The connection broke.
        """
        import httpx2

        from shared.openai_service.failures import network_reason, truncated, with_reason

        response = self._response
        # Each of the library's layers would cost something for every event of a stream.
        is_plain = "content-encoding" not in response.headers
        stream = cast(httpx2.AsyncByteStream, response.stream)
        body = aiter(stream) if is_plain else response.aiter_bytes()
        try:
            async with aclosing(cast(AsyncGenerator[bytes, None], body)) as pieces:
                async for chunk in pieces:
                    yield chunk
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise with_reason(network_reason(error), truncated()) from error


async def read_error(answer: ForwardedAnswer) -> ProviderError:
    """Returns the error that an answer with such a status is.

    Raises:
        ProviderTruncated: The connection broke.
    """
    from shared.openai_service.failures import redirected, too_many_requests

    if answer.status < FIRST_CLIENT_ERROR:
        return redirected()
    if answer.status > LAST_STATUS:
        return ProviderUnavailable(f"The provider failed with status {answer.status}.")
    body = await answer.beginning(MAX_ERROR_BYTES)
    error = error_of(body)
    means: ProviderError
    if answer.status == _TOO_MANY_REQUESTS:
        means = too_many_requests((error.get("code"), error.get("type")), answer.headers)
    elif answer.status >= FIRST_SERVER_ERROR or answer.status == _REQUEST_TIMEOUT:
        means = ProviderUnavailable(f"The provider failed with status {answer.status}.")
    elif answer.status in (404, 410):
        means = ProviderNotFound("The provider does not know the model or the route.")
    else:
        means = ProviderRejected("The provider rejected the request.")
    return ForwardedError(means, answer.status, answer.headers, body)


def error_of(body: bytes) -> Mapping[str, Any]:
    """Returns the error object of a body in OpenAI's format, an empty one of any other."""
    try:
        value = from_json(body)
    except ValueError:
        return {}
    error = value.get("error") if isinstance(value, Mapping) else None
    return error if isinstance(error, Mapping) else {}
