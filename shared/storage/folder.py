"""Objects as files in a folder: for local work, safe for several processes on one machine."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from shared.errors import StorageUnavailable
from shared.storage.folder_files import FolderFiles, FolderRoot
from shared.storage.links import LinkSigner
from shared.storage.objects import (
    ContentHeaders,
    ObjectInfo,
    ObjectPage,
    ObjectStream,
    RangeNotSatisfiable,
)

T = TypeVar("T")
P = ParamSpec("P")

CHUNK_BYTES = 256 * 1024
_SETTING = "LOCAL_STORAGE_PATH"
_ADVICE: tuple[tuple[type[OSError], str], ...] = (
    (
        NotADirectoryError,
        "A file is in the place of a folder. Move it away, or name another folder.",
    ),
    (FileNotFoundError, "Put it back, or start the app again to begin with an empty one."),
    (OSError, "Make room in it and give this app the right to read and write there."),
)
"""What to do about an error of the operating system: the first kind that it is."""


class FolderStore:
    """Objects of one container as files; see `ObjectStore`.

    Of the content headers only metadata are kept, as files of their own: the app serves these files
    itself and knows the others from the name.

    Args:
        root: Folder of all containers.
        container: Folder of this one.
        signer: Signs links to the app's own route; without it links lead to the files.
    """

    def __init__(self, root: FolderRoot, container: str, signer: LinkSigner | None) -> None:
        self._root = root
        self._folder = FolderFiles(root, container)
        self._signer = signer

    def path(self, name: str) -> Path:
        """Returns where an object's file is, or would be."""
        return self._folder.path(name)

    async def create(
        self, name: str, data: bytes, headers: ContentHeaders | None = None
    ) -> ObjectInfo:
        """Stores a new object at once, or not at all."""
        return await self._run(self._folder.create, name, data, headers)

    async def upload(
        self, name: str, chunks: AsyncIterable[bytes], headers: ContentHeaders | None = None
    ) -> ObjectInfo:
        """Stores a new object of unknown length."""
        upload = self._folder.upload()
        file, draft = await self._acquire(
            upload.__enter__, lambda _: upload.__exit__(None, None, None)
        )
        try:
            async for chunk in chunks:
                await self._run(file.write, chunk)
            return await self._run(self._folder.publish, file, draft, name, headers)
        finally:
            upload.__exit__(None, None, None)

    async def replace(self, name: str, data: bytes, etag: str) -> ObjectInfo:
        """Replaces an object that has not changed."""
        return await self._run(self._folder.replace, name, data, etag)

    async def append(self, name: str, data: bytes, position: int) -> int:
        """Appends to a log whose size the caller knows."""
        return await self._run(self._folder.append, name, data, position)

    async def read(self, name: str) -> tuple[bytes, ObjectInfo]:
        """Returns a whole object."""
        return await self._run(self._folder.read, name)

    async def describe(self, name: str) -> ObjectInfo:
        """Returns what is known of an object."""
        return await self._run(self._folder.describe, name)

    @asynccontextmanager
    async def open(
        self, name: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[ObjectStream]:
        """Reads an object, or a range of it, piece by piece."""
        file, info, stop, first = await self._acquire(
            partial(self._open, name, start, end), lambda opened: opened[0].close()
        )
        try:
            yield ObjectStream(info, self._chunks(file, start, stop, first))
        finally:
            file.close()

    def _open(
        self, name: str, start: int, end: int | None
    ) -> tuple[BinaryIO, ObjectInfo, int, bytes]:
        """Opens a file, and reads its first piece: most have no other."""
        file, info = self._folder.open(name)
        try:
            if start and start >= info.size:
                raise RangeNotSatisfiable(info.size)
            stop = info.size if end is None else min(end + 1, info.size)
            file.seek(start)
            return file, info, stop, file.read(min(CHUNK_BYTES, max(0, stop - start)))
        except BaseException:
            file.close()
            raise

    async def list(self, prefix: str, limit: int = 100, cursor: str | None = None) -> ObjectPage:
        """Lists objects whose names begin with a prefix, in the order of their names."""
        return await self._run(self._folder.list, prefix, limit, cursor)

    async def delete(self, name: str) -> bool:
        """Deletes an object and says whether there was one."""
        return await self._run(self._folder.delete, name)

    async def link(self, name: str, expires_at: datetime) -> str:
        """Returns a URL of the app itself, signed."""
        if self._signer is None:
            return self.path(name).as_uri()
        with _errors():
            return await self._signer.sign(name, expires_at)

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def checked() -> T:
            self._root.check()
            return work(*args, **kwargs)

        with _errors():
            return await asyncio.to_thread(checked)

    async def _acquire(self, work: Callable[[], T], release: Callable[[T], object]) -> T:
        """Opens something in a thread, which goes on when the caller is cancelled meanwhile."""
        opened: Future[T] = Future()

        def opening() -> None:
            result = work()
            try:
                opened.set_result(result)
            except InvalidStateError:
                release(result)

        try:
            await self._run(opening)
        except BaseException:
            if not opened.cancel():
                release(opened.result())
            raise
        return opened.result()

    async def _chunks(
        self, file: BinaryIO, start: int, stop: int, chunk: bytes
    ) -> AsyncIterator[bytes]:
        position = start
        while chunk:
            yield chunk
            position += len(chunk)
            left = min(CHUNK_BYTES, stop - position)
            chunk = await self._run(file.read, left) if left > 0 else b""


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = next((text for kind, text in _ADVICE if isinstance(error, kind)))
        raise StorageUnavailable(
            f"The folder of {_SETTING} cannot be used: {error.strerror or error}. {advice}",
            is_transient=False,
        ) from error
