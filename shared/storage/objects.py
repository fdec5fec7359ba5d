"""What the app needs of storage: objects by name, with the three conditions that make it safe.

Everything durable is such an object. Two implementations keep the same contract, which one suite of
tests runs against both: `BlobStore` on Azure Blob Storage, and `FolderStore` on a disk for local work.
"""

import re
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from shared.errors import StorageUnavailable

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._@-]+(/(?!\.)[A-Za-z0-9._@-]+)*")
MAX_NAME_CHARS = 1024


def check_name(name: str) -> str:
    """Returns the name of an object.

    Raises:
        ValueError: It is none: 1 to 1,024 of ``A-Z a-z 0-9 . _ @ -`` in parts between slashes, of which
            none begins with a dot.
    """
    if len(name) > MAX_NAME_CHARS or not _NAME.fullmatch(name):
        raise ValueError(f"This is no name of an object: {name!r}")
    return name


class ObjectConflict(Exception):
    """The root of conditions that did not hold: somebody else was there first."""


class ObjectExists(ObjectConflict):
    """Raised when an object that was to be created is there already."""


class ObjectChanged(ObjectConflict):
    """Raised when an object is not as the caller saw it last, or is gone."""


class LogFull(ObjectConflict):
    """Raised when a log can take no more appends: append blobs hold 50,000 blocks."""


class ObjectMissing(Exception):
    """Raised when there is no object of that name."""


def unreadable(*, is_transient: bool = True) -> StorageUnavailable:
    """Returns the error for an object that exists and cannot be read all the same."""
    return StorageUnavailable(
        "Storage reports that the object exists but cannot return it. Try again.",
        is_transient=is_transient,
    )


class RangeNotSatisfiable(Exception):
    """Raised when a range begins behind the end of an object.

    Args:
        size: The object's size in bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


@dataclass(frozen=True, slots=True)
class ContentHeaders:
    """What an object says of itself when a browser fetches it.

    Attributes:
        content_type: Its media type.
        cache_control: How long it may be kept.
        disposition: ``inline`` or ``attachment``, with a file name.
        metadata: What else is kept with it, for `ObjectStore.describe`. Whoever may read the object can
            read this too.
    """

    content_type: str = "application/octet-stream"
    cache_control: str | None = None
    disposition: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of a stored object.

    Attributes:
        name: Its name, with slashes.
        size: Bytes.
        etag: Changes whenever the object does.
        modified_at: When it changed last, by the clock of storage.
        seen_at: When storage said all this, by the same clock; None in listings and after writes.
        metadata: What was kept with it; only `ObjectStore.describe` tells.
    """

    name: str
    size: int
    etag: str
    modified_at: datetime
    seen_at: datetime | None = field(default=None, compare=False)
    metadata: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def age_seconds(self) -> float:
        """How long ago it changed last by the clock of storage, which may count whole seconds only."""
        if self.seen_at is None:
            return 0.0
        return (self.seen_at - self.modified_at).total_seconds()


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """A part of a listing.

    Attributes:
        objects: In the order of their names.
        cursor: Where the next part begins; None at the end.
    """

    objects: tuple[ObjectInfo, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class ObjectStream:
    """An object while it is read.

    Attributes:
        info: The object, with its whole size.
        chunks: The bytes that were asked for.
    """

    info: ObjectInfo
    chunks: AsyncIterator[bytes]


class ObjectStore(Protocol):
    """Objects of one container.

    Names are as `check_name` says. Every operation can raise `StorageUnavailable`. All but `append` are
    repeated where storage fails: a few times, or for as long as `keep_retrying` says. A repeat that
    finds what an earlier attempt has done takes it for done.
    """

    async def create(
        self,
        name: str,
        data: bytes,
        headers: ContentHeaders | None = None,
    ) -> ObjectInfo:
        """Stores a new object at once, or not at all.

        Args:
            name: The object.
            data: Its bytes.
            headers: What it says of itself.

        Raises:
            ObjectExists: There is one already that somebody else has stored.
        """
        ...

    async def upload(
        self,
        name: str,
        chunks: AsyncIterable[bytes],
        headers: ContentHeaders | None = None,
    ) -> ObjectInfo:
        """Stores a new object of unknown length; nobody sees it before its last byte is stored.

        Args:
            name: The object.
            chunks: Its bytes as they come.
            headers: What it says of itself.

        Raises:
            ObjectExists: There is one already that somebody else has stored.
        """
        ...

    async def replace(self, name: str, data: bytes, etag: str) -> ObjectInfo:
        """Replaces an object that has not changed since its etag was read.

        Args:
            name: The object.
            data: Its new bytes.
            etag: Of what is to be replaced.

        Raises:
            ObjectChanged: Somebody else has changed or deleted it.
        """
        ...

    async def append(self, name: str, data: bytes, position: int) -> int:
        """Appends to a log whose size the caller knows; position 0 begins it. This is tried once.

        Returns:
            The new size.

        Raises:
            LogFull: The log takes no more.
            ObjectChanged: The log has another size.
        """
        ...

    async def read(self, name: str) -> tuple[bytes, ObjectInfo]:
        """Returns a whole object.

        Raises:
            ObjectMissing: There is none.
            ObjectChanged: It is replaced all the time.
        """
        ...

    async def describe(self, name: str) -> ObjectInfo:
        """Returns what is known of an object.

        Raises:
            ObjectMissing: There is none.
        """
        ...

    def open(
        self, name: str, start: int = 0, end: int | None = None
    ) -> AbstractAsyncContextManager[ObjectStream]:
        """Reads an object, or a range of it, piece by piece; the pieces are of one state of it.

        While they are read they can raise `ObjectChanged`.

        Args:
            name: The object.
            start: First byte.
            end: Last byte, as in HTTP ranges; None for all that follow.

        Raises:
            ObjectMissing: There is none.
            RangeNotSatisfiable: It ends before ``start``.
        """
        ...

    async def list(self, prefix: str, limit: int = 100, cursor: str | None = None) -> ObjectPage:
        """Lists objects whose names begin with a prefix, in the order of their names.

        Raises:
            ValueError: The cursor is not one that a listing gave.
        """
        ...

    async def delete(self, name: str) -> bool:
        """Deletes an object and says whether there was one."""
        ...

    async def link(self, name: str, expires_at: datetime) -> str:
        """Returns a URL that anybody can read the object with until it expires; see `links`."""
        ...
