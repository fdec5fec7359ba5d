"""A container that is opened by its first use."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from shared.storage.objects import (
    ContentHeaders,
    ObjectInfo,
    ObjectPage,
    ObjectStore,
    ObjectStream,
)


class LazyStore:
    """Objects of a container that is not open yet; see `ObjectStore`.

    Every operation raises what opening raises: `NotConfigured`, `StorageUnavailable`.

    Args:
        open_store: Returns the open container; called for each operation.
    """

    def __init__(self, open_store: Callable[[], Awaitable[ObjectStore]]) -> None:
        self._open_store = open_store

    async def create(
        self,
        name: str,
        data: bytes,
        headers: ContentHeaders | None = None,
    ) -> ObjectInfo:
        """Stores a new object at once, or not at all."""
        return await (await self._open_store()).create(name, data, headers)

    async def upload(
        self,
        name: str,
        chunks: AsyncIterable[bytes],
        headers: ContentHeaders | None = None,
    ) -> ObjectInfo:
        """Stores a new object of unknown length."""
        return await (await self._open_store()).upload(name, chunks, headers)

    async def replace(self, name: str, data: bytes, etag: str) -> ObjectInfo:
        """Replaces an object that has not changed."""
        return await (await self._open_store()).replace(name, data, etag)

    async def append(self, name: str, data: bytes, position: int) -> int:
        """Appends to a log whose size the caller knows."""
        return await (await self._open_store()).append(name, data, position)

    async def read(self, name: str) -> tuple[bytes, ObjectInfo]:
        """Returns a whole object."""
        return await (await self._open_store()).read(name)

    async def describe(self, name: str) -> ObjectInfo:
        """Returns what is known of an object."""
        return await (await self._open_store()).describe(name)

    @asynccontextmanager
    async def open(
        self, name: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[ObjectStream]:
        """Reads an object, or a range of it, piece by piece."""
        async with (await self._open_store()).open(name, start, end) as stream:
            yield stream

    async def list(self, prefix: str, limit: int = 100, cursor: str | None = None) -> ObjectPage:
        """Lists objects whose names begin with a prefix, in the order of their names."""
        return await (await self._open_store()).list(prefix, limit, cursor)

    async def delete(self, name: str) -> bool:
        """Deletes an object and says whether there was one."""
        return await (await self._open_store()).delete(name)

    async def link(self, name: str, expires_at: datetime) -> str:
        """Returns a URL that anybody can read the object with until it expires."""
        return await (await self._open_store()).link(name, expires_at)
