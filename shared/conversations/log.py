"""One conversation as JSON lines in append blobs, read from its end; `log_writer` appends to it.

The log is also its own lease. While the last append is young by the clock of storage and does not end a
run, only that run may write. Every append names the position that it expects, so that of two writers one
fails and none of its lines is stored between the other's.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from shared.conversations.lines import (
    ConversationLine,
    EndLine,
    Line,
    NextPartLine,
    decode,
)
from shared.storage import (
    ObjectChanged,
    ObjectInfo,
    ObjectMissing,
    ObjectStore,
    RangeNotSatisfiable,
    owner_key,
)

FIRST_READ_BYTES = 64 * 1024
MAX_KNOWN_SIZES = 1000
MAX_READ_BYTES = 1024 * 1024
FIRST_LINE_BYTES = 2048
"""Bytes at the start of a log that hold its whole first line."""


@dataclass(frozen=True, slots=True)
class Place:
    """The beginning or end of a line: the part, counted from 1, and the byte in it."""

    part: int
    offset: int


@dataclass(frozen=True, slots=True)
class PlacedLine:
    """A line and the place where it begins."""

    place: Place
    line: Line


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a log as it was read.

    Attributes:
        end: The place of the next append.
        appends: Number of appends to the last part.
        newest: The last lines, newest first.
        age_seconds: Seconds since the last append, by the clock of storage.
    """

    end: Place
    appends: int
    newest: Sequence[PlacedLine] = ()
    age_seconds: float = 0.0

    def is_under_way(self, lease_seconds: float) -> bool:
        """Returns whether the run of the newest line is under way.

        Args:
            lease_seconds: Seconds after its last append for which a run counts as under way.
        """
        if not self.newest or isinstance(self.newest[0].line, EndLine):
            return False
        return self.age_seconds < lease_seconds


class KnownSizes:
    """Sizes of logs as this instance saw them last, to read the end of a log at once.

    A cache that may be lost, and wrong: a log that has grown since is read where it ends now.
    """

    def __init__(self) -> None:
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def get(self, name: str) -> int:
        """Returns the size of a log; 0 where it is not known."""
        return self._sizes.get(name, 0)

    def set(self, name: str, size: int) -> None:
        """Notes the size of a log."""
        self._sizes[name] = size
        self._sizes.move_to_end(name)
        if len(self._sizes) > MAX_KNOWN_SIZES:
            self._sizes.popitem(last=False)


def folder_of(principal: str) -> str:
    """Returns the prefix of the names of a principal's logs."""
    return f"conversations/{owner_key(principal)}/"


class ConversationLog:
    """The lines of one conversation.

    Args:
        state: The container of the log.
        principal: The principal whose conversation it is.
        conversation_id: An id as `is_id` checks it.
        sizes: Remembers how large logs were.
    """

    def __init__(
        self,
        state: ObjectStore,
        principal: str,
        conversation_id: str,
        sizes: KnownSizes | None = None,
    ) -> None:
        self.state = state
        self._sizes = KnownSizes() if sizes is None else sizes
        self._principal = principal
        self._id = conversation_id

    def name(self, part: int) -> str:
        """Returns the name of a part's object; a listing finds first parts only."""
        if part == 1:
            return f"{folder_of(self._principal)}{self._id}.jsonl"
        return f"conversation-parts/{owner_key(self._principal)}/{self._id}/{part}.jsonl"

    async def tail(self) -> Tail:
        """Reads the end.

        Raises:
            ObjectMissing: There is no such conversation.
        """
        part = 1
        while True:
            try:
                tail = await self._part_tail(part)
            except ObjectMissing:
                if part == 1:
                    raise
                # The instance that announced this part died before it wrote to it.
                return Tail(Place(part, 0), 0)
            if not tail.newest or not isinstance(tail.newest[0].line, NextPartLine):
                return tail
            part += 1

    async def find_tail(self) -> Tail | None:
        """Reads the end; None where there is no such conversation."""
        try:
            tail = await self.tail()
        except ObjectMissing:
            return None
        # The instance that made an empty log died before its first line: no caller knows its id.
        return None if tail.end == Place(1, 0) else tail

    async def _part_tail(self, part: int) -> Tail:
        """Reads the end of a part, in one request where it is short or its size is known."""
        name = self.name(part)
        start = max(0, self._sizes.get(name) - FIRST_READ_BYTES)
        try:
            data, info = await self._read(part, start, start + 2 * FIRST_READ_BYTES)
        except RangeNotSatisfiable as error:
            # Another log was there when the size was noted, or the part is empty.
            start = max(0, error.size - FIRST_READ_BYTES)
            data, info = await self._read(part, start, start + 2 * FIRST_READ_BYTES)
        self._sizes.set(name, info.size)
        end = Place(part, info.size)
        skipped = data.find(b"\n") + 1 if start else 0
        is_end = start + len(data) == info.size
        if is_end and (start == 0 or 0 < skipped < len(data)):
            newest = _place(data[skipped:], part, start + skipped)
        else:
            newest = await self._lines_before(end, FIRST_READ_BYTES)
        return Tail(end, newest[0].line.append if newest else 0, newest, info.age_seconds)

    async def backwards(
        self, tail: Tail | None = None, before: Place | None = None
    ) -> AsyncGenerator[PlacedLine, None]:
        """Yields lines, newest first.

        Args:
            tail: The end of the log, whose lines are not read again.
            before: The place to begin before; None for the tail's end.
        """
        lines = tail.newest if tail else ()
        place = before or (tail.end if tail else Place(1, 0))
        size = FIRST_READ_BYTES
        while True:
            for each in lines:
                if not isinstance(each.line, NextPartLine):
                    yield each
                place = each.place
            if place.offset == 0:
                if place.part == 1:
                    return
                name = self.name(place.part - 1)
                place = Place(place.part - 1, (await self.state.describe(name)).size)
            lines = await self._lines_before(place, size)
            size = min(size * 4, MAX_READ_BYTES)

    async def first_line(self) -> ConversationLine:
        """Returns the line that the conversation begins with.

        Raises:
            ObjectMissing: There is no such conversation.
        """
        data = b""
        with suppress(RangeNotSatisfiable):
            data = await self.read_range(1, 0, FIRST_LINE_BYTES)
        first, line_feed, _ = data.partition(b"\n")
        if line_feed and isinstance(line := decode(first), ConversationLine):
            return line
        # The instance died between the creation of the object and its first append.
        raise ObjectMissing(self.name(1))

    async def last_lines(self, size: int, most: int) -> Sequence[Line]:
        """Reads whole lines at the end of the first part, newest first.

        Args:
            size: Size of the first part.
            most: Maximum bytes to read.

        Raises:
            ObjectMissing: There is no such conversation.
        """
        start = max(0, size - most)
        data = await self.read_range(1, start, size)
        skipped = 0 if start == 0 else data.find(b"\n") + 1
        if start and not skipped:
            return ()
        return [each.line for each in _place(data[skipped:], 1, start + skipped)]

    async def delete(self, last_part: int) -> None:
        """Deletes all parts, the first part last: as long as it is there, the rest can be found."""
        for part in range(last_part, 0, -1):
            await self.state.delete(self.name(part))

    async def _lines_before(self, end: Place, size: int) -> Sequence[PlacedLine]:
        """Reads whole lines up to a place, newest first; there are none only at the beginning."""
        while end.offset:
            start = max(0, end.offset - size)
            data = await self.read_range(end.part, start, end.offset)
            skipped = 0 if start == 0 else data.find(b"\n") + 1
            if start == 0 or 0 < skipped < len(data):
                return _place(data[skipped:], end.part, start + skipped)
            size *= 4
        return ()

    async def read_range(self, part: int, start: int, end: int) -> bytes:
        """Returns the bytes of a part from ``start`` up to ``end``, or to its end."""
        return (await self._read(part, start, end))[0]

    async def _read(self, part: int, start: int, end: int) -> tuple[bytes, ObjectInfo]:
        while True:
            # Bytes never change, but a long range cannot be read in one go while the log grows.
            with suppress(ObjectChanged):
                async with self.state.open(self.name(part), start, end - 1) as stream:
                    return b"".join([chunk async for chunk in stream.chunks]), stream.info

    def note_size(self, part: int, size: int) -> None:
        """Remembers how large a part is, so that its end can be read at once."""
        self._sizes.set(self.name(part), size)


def _place(data: bytes, part: int, offset: int) -> Sequence[PlacedLine]:
    placed = []
    for text in data.splitlines(keepends=True):
        placed.append(PlacedLine(Place(part, offset), decode(text)))
        offset += len(text)
    return placed[::-1]
