"""Objects as files in a folder: for local work, safe for several processes on one machine.

A write goes to a file of its own first and gets its name in one step, so that a process that dies leaves
nothing half written. What a name's conditions need is checked under a file lock, which the operating
system frees when its holder dies.
"""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from time import time
from typing import BinaryIO, TypeVar

from filelock import FileLock

from shared.errors import StorageUnavailable
from shared.storage.links import LinkSigner
from shared.storage.objects import (
    ContentHeaders,
    ObjectChanged,
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    ObjectPage,
    ObjectStream,
    RangeNotSatisfiable,
    check_name,
)
from shared.storage.private_files import FILE_MODE, make_private_folder, private_opener

T = TypeVar("T")

UPLOADS, LOCKS, METADATA = ".uploads", ".locks", ".metadata"
"""Folders beside those of the containers."""

CHUNK_BYTES = 256 * 1024
STALE_UPLOAD_SECONDS = 24 * 3600
_SETTING = "LOCAL_STORAGE_PATH"
_LOCKS = 64


class FolderStore:
    """Objects of one container as files.

    Of the content headers only metadata are kept, as files of their own: the app serves these files
    itself and knows the others from the name.

    Args:
        root: Folder of all containers; made when first written to.
        container: Folder of this one.
        signer: Signs links to the app's own route.
    """

    def __init__(self, root: Path, container: str, signer: LinkSigner | None) -> None:
        self._objects = root / container
        self._uploads = root / UPLOADS
        self._locks = root / LOCKS
        self._metadata = root / METADATA / container
        self._signer = signer

    async def create(
        self,
        name: str,
        data: bytes,
        headers: ContentHeaders | None = None,
    ) -> ObjectInfo:
        """Stores a new object at once, or not at all."""

        def work() -> ObjectInfo:
            with self._upload() as (file, path):
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                return self._publish(path, name, headers)

        return await self._run(work)

    async def upload(
        self,
        name: str,
        chunks: AsyncIterable[bytes],
        headers: ContentHeaders | None = None,
    ) -> ObjectInfo:
        """Stores a new object of unknown length."""
        upload = self._upload()
        file, path = await self._run(upload.__enter__)
        try:
            async for chunk in chunks:
                await self._run(lambda data=chunk: file.write(data))  # type: ignore[misc]

            def finish() -> ObjectInfo:
                file.flush()
                os.fsync(file.fileno())
                return self._publish(path, name, headers)

            return await self._run(finish)
        finally:
            upload.__exit__(None, None, None)

    async def replace(self, name: str, data: bytes, etag: str) -> ObjectInfo:
        """Replaces an object that has not changed."""

        def work() -> ObjectInfo:
            path = self.path(name)
            with self._lock(name), self._upload() as (file, upload):
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                try:
                    if _etag(path.stat()) != etag:
                        raise ObjectChanged(name)
                except FileNotFoundError as error:
                    raise ObjectChanged(name) from error
                upload.replace(path)
                return self._info(name, path.stat())

        return await self._run(work)

    async def append(self, name: str, data: bytes, position: int) -> int:
        """Appends to a log whose size the caller knows."""

        def work() -> int:
            path = self.path(name)
            with self._lock(name):
                size = path.stat().st_size if path.exists() else None
                if (size or 0) != position:
                    raise ObjectChanged(name)
                make_private_folder(path.parent)
                # One write of the operating system: it happens whole, whatever becomes of us.
                descriptor = os.open(
                    path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY, FILE_MODE
                )
                try:
                    written = os.write(descriptor, data)
                    if written != len(data):
                        os.ftruncate(descriptor, position)
                        raise OSError("the disk took only a part")
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            return position + len(data)

        return await self._run(work)

    async def read(self, name: str) -> tuple[bytes, ObjectInfo]:
        """Returns a whole object."""

        def work() -> tuple[bytes, ObjectInfo]:
            with _open(self.path(name), name) as file:
                info = self._info(name, os.fstat(file.fileno()))
                return file.read(), info

        return await self._run(work)

    async def describe(self, name: str) -> ObjectInfo:
        """Returns what is known of an object."""

        def work() -> ObjectInfo:
            try:
                info = self._info(name, self.path(name).stat())
            except (FileNotFoundError, NotADirectoryError) as error:
                raise ObjectMissing(name) from error
            return replace(info, metadata=self._read_metadata(name))

        return await self._run(work)

    @asynccontextmanager
    async def open(
        self, name: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[ObjectStream]:
        """Reads an object, or a range of it, piece by piece."""
        file = await self._run(lambda: _open(self.path(name), name))
        try:
            info = self._info(name, os.fstat(file.fileno()))
            if start and start >= info.size:
                raise RangeNotSatisfiable(info.size)
            stop = info.size if end is None else min(end + 1, info.size)
            yield ObjectStream(info, self._chunks(file, start, stop))
        finally:
            file.close()

    async def list(self, prefix: str, limit: int = 100, cursor: str | None = None) -> ObjectPage:
        """Lists objects whose names begin with a prefix, in the order of their names."""

        def work() -> ObjectPage:
            if cursor is not None and not cursor.startswith(prefix):
                raise ValueError("This cursor is not one that a listing gave.")
            names = sorted(name for name in self._names(prefix) if cursor is None or name > cursor)
            page = names[:limit]
            objects = []
            for name in page:
                with suppress(FileNotFoundError):
                    objects.append(self._info(name, self.path(name).stat()))
            return ObjectPage(tuple(objects), page[-1] if len(names) > limit else None)

        return await self._run(work)

    async def delete(self, name: str) -> bool:
        """Deletes an object and says whether there was one."""

        def work() -> bool:
            with self._lock(name):
                try:
                    self.path(name).unlink()
                except (FileNotFoundError, NotADirectoryError):
                    return False
                with suppress(FileNotFoundError, NotADirectoryError):
                    self._metadata_path(name).unlink()
                return True

        return await self._run(work)

    async def link(self, name: str, expires_at: datetime) -> str:
        """Returns a URL of the app itself, signed."""
        if self._signer is None:
            return self.path(name).as_uri()
        with self._errors():
            return await self._signer.sign(name, expires_at)

    async def _run(self, work: Callable[[], T]) -> T:
        with self._errors():
            return await asyncio.to_thread(work)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageUnavailable(
                f"The folder of {_SETTING} cannot be used: {error.strerror or error}. "
                "Make room in it and give this app the right to write there.",
                is_transient=False,
            ) from error

    async def _chunks(self, file: BinaryIO, start: int, stop: int) -> AsyncIterator[bytes]:
        position = start
        await self._run(lambda: file.seek(start))
        while position < stop:
            size = min(CHUNK_BYTES, stop - position)
            chunk = await self._run(lambda size=size: file.read(size))  # type: ignore[misc]
            if not chunk:
                return
            position += len(chunk)
            yield chunk

    def path(self, name: str) -> Path:
        """Returns where an object's file is, or would be."""
        return self._objects.joinpath(*check_name(name).split("/"))

    def _names(self, prefix: str) -> Iterator[str]:
        folder = self._objects.joinpath(*prefix.split("/")[:-1])
        for path in folder.rglob("*"):
            name = path.relative_to(self._objects).as_posix()
            if name.startswith(prefix) and path.is_file():
                yield name

    def _info(self, name: str, status: os.stat_result) -> ObjectInfo:
        modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
        return ObjectInfo(
            name, status.st_size, _etag(status), modified_at, seen_at=datetime.now(UTC)
        )

    def _metadata_path(self, name: str) -> Path:
        return self._metadata.joinpath(*check_name(f"{name}.json").split("/"))

    def _read_metadata(self, name: str) -> dict[str, str]:
        try:
            metadata: dict[str, str] = json.loads(self._metadata_path(name).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return metadata

    def _publish(self, upload: Path, name: str, headers: ContentHeaders | None) -> ObjectInfo:
        path = self.path(name)
        make_private_folder(path.parent)
        if headers is not None and headers.metadata:
            # Before the object: of two writers of one name both store the same.
            about = self._metadata_path(name)
            make_private_folder(about.parent)
            with self._upload() as (file, draft):
                file.write(json.dumps(dict(headers.metadata)).encode())
                file.flush()
                draft.replace(about)
        try:
            # A hard link is the one way to name a file that fails where the name is taken.
            os.link(upload, path)
        except FileExistsError as error:
            raise ObjectExists(name) from error
        return self._info(name, path.stat())

    @contextmanager
    def _upload(self) -> Iterator[tuple[BinaryIO, Path]]:
        make_private_folder(self._uploads)
        self._sweep()
        path = self._uploads / secrets.token_hex(16)
        with open(path, "xb", opener=private_opener) as file:
            try:
                yield file, path
            finally:
                path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        # What processes that died have left; others' files are young.
        for path in self._uploads.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time() - STALE_UPLOAD_SECONDS:
                    path.unlink()

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        make_private_folder(self._locks)
        # A fixed number of lock files: one for each name would never go away.
        slot = int(sha256(name.encode()).hexdigest(), 16) % _LOCKS
        with FileLock(self._locks / f"{slot}.lock", mode=FILE_MODE):
            yield


_BINARY = getattr(os, "O_BINARY", 0)


def _open(path: Path, name: str) -> BinaryIO:
    try:
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ObjectMissing(name) from error


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
