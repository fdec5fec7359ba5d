"""Objects as they were read, by their versions: what a listing shows unchanged is not read again."""

from collections import OrderedDict
from typing import Generic, TypeVar

from shared.storage.objects import ObjectInfo

T = TypeVar("T")

MAX_BYTES = 4 * 1024 * 1024
"""Maximum bytes that are kept: those of some thousand records."""


class ReadObjects(Generic[T]):
    """What was read of objects, under their names and versions; those not asked for longest go first.

    A cache of the instance that may be lost. It is never out of date: a listing tells each object's
    version.

    Args:
        max_bytes: Maximum bytes to keep.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[str, T, int]] = OrderedDict()

    def get(self, info: ObjectInfo) -> T | None:
        """Returns what was read of an object; None where it was not, or has changed since.

        Args:
            info: The object as a listing shows it.
        """
        kept = self._kept.get(info.name)
        if kept is None or kept[0] != info.etag:
            return None
        self._kept.move_to_end(info.name)
        return kept[1]

    def set(self, info: ObjectInfo, found: T, size: int) -> None:
        """Keeps what was read.

        Args:
            info: The object as it was when it was read.
            found: What is kept; it must never be changed.
            size: Bytes that it takes, about.
        """
        if (earlier := self._kept.pop(info.name, None)) is not None:
            self._bytes -= earlier[2]
        self._kept[info.name] = (info.etag, found, size)
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, _, freed = self._kept.popitem(last=False)[1]
            self._bytes -= freed
