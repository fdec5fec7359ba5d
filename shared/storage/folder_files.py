"""The files of a folder store: how they are named and locked, and become whole or not at all.

Nobody but the app's own user can read them, whatever the umask.
"""

import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from errno import ENOTDIR
from hashlib import sha256
from pathlib import Path
from time import time
from typing import BinaryIO

from shared.storage.objects import (
    ContentHeaders,
    ObjectChanged,
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    ObjectPage,
    check_name,
)
from shared.storage.private_files import FILE_MODE, make_private_folder, private_opener

UPLOADS, LOCKS, METADATA = ".uploads", ".locks", ".metadata"
"""Folders beside those of the containers."""

STALE_UPLOAD_SECONDS = 24 * 3600
_LOCKS = 64
_BINARY = getattr(os, "O_BINARY", 0)


class FolderRoot:
    """The folder of all containers, which share this object: all notice when the folder disappears.

    Args:
        path: The folder; made when first written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._was_there = False

    def check(self) -> None:
        """Checks that it is a folder; what is in another place would read as empty.

        Raises:
            NotADirectoryError: Something else is in its place.
            FileNotFoundError: It is gone; before anything is read or written it need not be there.
        """
        # Before the look: another thread may make it behind that.
        was_there = self._was_there
        try:
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            if was_there:
                raise
            return
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), str(self.path))
        self._was_there = True

    def make(self, folder: Path) -> None:
        """Makes a folder in it, and those above that are missing."""
        make_private_folder(folder)
        self._was_there = True


class FolderFiles:
    """The files of one container.

    A write goes to a file of its own first and gets its name in one step, so that a process that dies
    leaves nothing half written. What a name's conditions need is checked under a file lock, which the
    operating system frees when its holder dies. Every method blocks: call it in a thread.

    Args:
        root: Folder of all containers.
        container: Folder of this one.
    """

    def __init__(self, root: FolderRoot, container: str) -> None:
        self._root = root
        self._objects = root.path / container
        self._uploads = root.path / UPLOADS
        self._locks = root.path / LOCKS
        self._metadata = root.path / METADATA / container

    def path(self, name: str) -> Path:
        """Returns where an object's file is, or would be."""
        return self._objects.joinpath(*check_name(name).split("/"))

    def create(self, name: str, data: bytes, headers: ContentHeaders | None) -> ObjectInfo:
        """Writes a new file at once, or not at all."""
        with self.upload() as (file, path):
            file.write(data)
            return self.publish(file, path, name, headers)

    def replace(self, name: str, data: bytes, etag: str) -> ObjectInfo:
        """Replaces a file that has not changed."""
        path = self.path(name)
        with self._lock(name), self.upload() as (file, draft):
            file.write(data)
            _finish(file)
            try:
                if _etag(path.stat()) != etag:
                    raise ObjectChanged(name)
            except FileNotFoundError as error:
                raise ObjectChanged(name) from error
            draft.replace(path)
            return self._info(name, path.stat())

    def append(self, name: str, data: bytes, position: int) -> int:
        """Appends to a file of a known size, and returns the new one."""
        path = self.path(name)
        with self._lock(name):
            size = path.stat().st_size if path.exists() else 0
            if size != position:
                raise ObjectChanged(name)
            self._root.make(path.parent)
            # One write of the operating system: it happens whole, whatever becomes of us.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY, FILE_MODE)
            try:
                if os.write(descriptor, data) != len(data):
                    os.ftruncate(descriptor, position)
                    raise OSError("the disk took only a part")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return position + len(data)

    def read(self, name: str) -> tuple[bytes, ObjectInfo]:
        """Returns a whole file."""
        file, info = self.open(name)
        with file:
            return file.read(), info

    def open(self, name: str) -> tuple[BinaryIO, ObjectInfo]:
        """Opens a file for reading."""
        try:
            file = self.path(name).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ObjectMissing(name) from error
        return file, self._info(name, os.fstat(file.fileno()))

    def describe(self, name: str) -> ObjectInfo:
        """Returns what is known of a file, with its metadata."""
        try:
            info = self._info(name, self.path(name).stat())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectMissing(name) from error
        try:
            metadata = json.loads(self._metadata_path(name).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            metadata = {}
        return replace(info, metadata=metadata)

    def list(self, prefix: str, limit: int, cursor: str | None) -> ObjectPage:
        """Lists files; the cursor is the last name of the page before."""
        if cursor is not None and not cursor.startswith(prefix):
            raise ValueError("This cursor is not one that a listing gave.")
        names = sorted(name for name in self._names(prefix) if cursor is None or name > cursor)
        page = names[:limit]
        objects = []
        for name in page:
            with suppress(FileNotFoundError):
                objects.append(self._info(name, self.path(name).stat()))
        return ObjectPage(tuple(objects), page[-1] if len(names) > limit else None)

    def delete(self, name: str) -> bool:
        """Deletes a file and its metadata, and says whether there was one."""
        with self._lock(name):
            try:
                self.path(name).unlink()
            except (FileNotFoundError, NotADirectoryError):
                return False
            with suppress(FileNotFoundError, NotADirectoryError):
                self._metadata_path(name).unlink()
            return True

    @contextmanager
    def upload(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Opens a draft, which is gone afterwards unless it was published."""
        self._root.make(self._uploads)
        self._sweep()
        path = self._uploads / secrets.token_hex(16)
        # Windows neither renames nor deletes what is open.
        file = open(path, "xb", opener=private_opener)  # noqa: SIM115 - closed below, before the file goes
        try:
            yield file, path
        finally:
            file.close()
            path.unlink(missing_ok=True)

    def publish(
        self, file: BinaryIO, draft: Path, name: str, headers: ContentHeaders | None
    ) -> ObjectInfo:
        """Gives a draft the name of a new object."""
        _finish(file)
        path = self.path(name)
        self._root.make(path.parent)
        if headers is not None and headers.metadata:
            # Before the object: of two writers of one name both store the same.
            self._write_metadata(name, headers)
        try:
            # A hard link is the one way to name a file that fails where the name is taken.
            os.link(draft, path)
        except FileExistsError as error:
            raise ObjectExists(name) from error
        return self._info(name, path.stat())

    def _write_metadata(self, name: str, headers: ContentHeaders) -> None:
        path = self._metadata_path(name)
        self._root.make(path.parent)
        with self.upload() as (file, draft):
            file.write(json.dumps(dict(headers.metadata)).encode())
            file.close()
            draft.replace(path)

    def _metadata_path(self, name: str) -> Path:
        return self._metadata.joinpath(*check_name(f"{name}.json").split("/"))

    def _names(self, prefix: str) -> Iterator[str]:
        top = self._objects.joinpath(*prefix.split("/")[:-1])
        for folder, _, files in os.walk(top, onerror=_raise_unless_missing):
            for file in files:
                name = Path(folder, file).relative_to(self._objects).as_posix()
                if name.startswith(prefix):
                    yield name

    def _info(self, name: str, status: os.stat_result) -> ObjectInfo:
        modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
        return ObjectInfo(
            name, status.st_size, _etag(status), modified_at, seen_at=datetime.now(UTC)
        )

    def _sweep(self) -> None:
        # What processes that died have left; others' files are young.
        for path in self._uploads.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time() - STALE_UPLOAD_SECONDS:
                    path.unlink()

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        self._root.make(self._locks)
        # A fixed number of lock files: one for each name would never go away.
        slot = int(sha256(name.encode()).hexdigest(), 16) % _LOCKS
        # On first use: Blob Storage has no need of it.
        from filelock import FileLock

        with FileLock(self._locks / f"{slot}.lock", mode=FILE_MODE):
            yield


def _finish(file: BinaryIO) -> None:
    """Writes all of a draft to the disk and closes it, so that it can get its name."""
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _raise_unless_missing(error: OSError) -> None:
    # A folder that cannot be read would be listed as empty.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
