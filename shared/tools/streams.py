"""Streams of bytes whose format shows at their beginning."""

from collections.abc import AsyncIterator, Callable

from shared.errors import GatewayError
from shared.storage import formats


async def peek(
    chunks: AsyncIterator[bytes], max_bytes: int, too_large: Callable[[], GatewayError]
) -> tuple[bytes, AsyncIterator[bytes]]:
    """Returns the first bytes of a stream, and the whole stream, from the first byte on.

    Args:
        chunks: The stream.
        max_bytes: Maximum bytes of the stream.
        too_large: Makes the error that is raised while a longer stream is read.
    """
    head = b""
    async for chunk in chunks:
        head += chunk
        if len(head) >= formats.HEAD_BYTES:
            break
    return head, _whole(head, chunks, max_bytes, too_large)


async def _whole(
    head: bytes,
    rest: AsyncIterator[bytes],
    max_bytes: int,
    too_large: Callable[[], GatewayError],
) -> AsyncIterator[bytes]:
    size = len(head)
    if size > max_bytes:
        raise too_large()
    yield head
    async for chunk in rest:
        size += len(chunk)
        if size > max_bytes:
            raise too_large()
        yield chunk
