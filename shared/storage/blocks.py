"""Bytes cut into the blocks that uploads are sent in."""

from collections.abc import AsyncIterable, AsyncIterator

BLOCK_BYTES = 1024 * 1024
"""Bytes of a block of uploads and downloads; a few of them are in memory at a time. aiohttp sends
larger ones in one go, while everything else waits."""


async def blocks_of(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yields the same bytes in blocks of one size, but for the last."""
    block = bytearray()
    async for chunk in chunks:
        block += chunk
        while len(block) >= BLOCK_BYTES:
            yield bytes(block[:BLOCK_BYTES])
            del block[:BLOCK_BYTES]
    if block:
        yield bytes(block)


async def pieces_of(data: bytes) -> AsyncIterator[bytes]:
    """Yields bytes in blocks."""
    for start in range(0, len(data), BLOCK_BYTES):
        yield data[start : start + BLOCK_BYTES]


async def chain(first: bytes, second: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yields two blocks and those that follow."""
    yield first
    yield second
    async for block in rest:
        yield block
