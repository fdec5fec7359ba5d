"""Uploads in blocks: cut, staged several at a time, and committed together.

The SDK's own upload of streams names blocks after their position, so that two writers of one name would
mix theirs. These have random names: what is committed is what one writer sent. Importing this module
imports the Azure SDK.
"""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterable, AsyncIterator
from functools import partial
from uuid import uuid4

from azure.storage.blob import BlobBlock

from shared.storage.blob.account import BLOCK_BYTES
from shared.storage.blob.container import BlobContainer
from shared.storage.retries import retry_write

PARALLEL_BLOCKS = 4
"""Blocks of one upload on their way at a time; with the one being filled they bound its memory."""


class BlockUpload:
    """Stages the blocks of one object; nobody sees them before they are committed.

    Args:
        container: Where the object is to be.
        name: The object.

    Attributes:
        blocks: The blocks that were staged, in order.
        size: Their bytes.
    """

    def __init__(self, container: BlobContainer, name: str) -> None:
        self.blocks: list[BlobBlock] = []
        self.size = 0
        self._container = container
        self._name = name
        self._places = asyncio.Semaphore(PARALLEL_BLOCKS)
        self._sending: list[asyncio.Task[None]] = []
        self._has_failed = False

    async def stage(self, blocks: AsyncIterator[bytes]) -> None:
        """Stages blocks as they come.

        Raises:
            StorageUnavailable: One could not be staged.
        """
        try:
            async for block in blocks:
                await self._places.acquire()
                if self._has_failed:
                    break
                self._begin(block)
            await asyncio.gather(*self._sending)
        except asyncio.CancelledError:
            for task in self._sending:
                task.cancel()
            raise
        finally:
            # After a failure the other blocks are sent to their end: a request that is cancelled leaves
            # its connection half closed.
            await asyncio.gather(*self._sending, return_exceptions=True)

    def _begin(self, block: bytes) -> None:
        block_id = b64encode(uuid4().bytes).decode()
        self.blocks.append(BlobBlock(block_id))
        self.size += len(block)
        self._sending.append(asyncio.create_task(self._send(block_id, block)))

    async def _send(self, block_id: str, block: bytes) -> None:
        try:
            await retry_write(partial(self._put, block_id, block), self._container.attempts)
        except BaseException:
            self._has_failed = True
            raise
        finally:
            self._places.release()

    async def _put(self, block_id: str, block: bytes) -> None:
        blob = self._container.blob(self._name)
        stage = partial(blob.stage_block, block_id, block, length=len(block), retry_total=0)
        await self._container.write(self._name, stage)


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
