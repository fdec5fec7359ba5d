"""One conversation as JSON lines in append blobs: written under a fence, read from its end.

The log is also its own lease. A writer's lines say whose turn it is; while the last append is young by
the clock of storage and does not end a turn, nobody else may write. Every append names the position that
it expects, so that of two writers one fails and nothing of it lands between the other's lines.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from shared.storage.ids import iso_utc, owner_key
from shared.storage.objects import (
    ObjectChanged,
    ObjectMissing,
    ObjectStore,
    RangeNotSatisfiable,
)
from shared.storage.retries import retry_write
from shared.storage.service import Storage

MAX_APPENDS = 49_000
"""Maximum appends to one part of a log, then the next begins: append blobs take 50,000 blocks."""

FIRST_READ_BYTES = 64 * 1024
MAX_READ_BYTES = 1024 * 1024
FIRST_LINE_BYTES = 2048
"""Bytes at the start of a log that hold its first line whole."""

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line begins or ends: the part, counted from 1, and the byte in it."""

    part: int
    offset: int


@dataclass(frozen=True, slots=True)
class PlacedLine:
    """A line and where it begins."""

    place: Place
    line: Line


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a log as it was read.

    Attributes:
        end: Where the next append goes.
        appends: How many there have been to the last part.
        newest: The last lines, newest first.
        age_seconds: How long ago the last append was, by the clock of storage.
    """

    end: Place
    appends: int
    newest: Sequence[PlacedLine] = ()
    age_seconds: float = 0.0

    def is_under_way(self, lease_seconds: float) -> bool:
        """Returns whether a writer is in the middle of the turn that the newest line belongs to.

        Args:
            lease_seconds: How long a turn counts as under way after its last append.
        """
        if not self.newest or self.newest[0].line["type"] == "end":
            return False
        return self.age_seconds < lease_seconds


class ConversationLog:
    """The lines of one conversation.

    Args:
        state: Where they are.
        principal: Whose they are.
        conversation_id: An id, as `is_id` knows them.
    """

    def __init__(self, state: ObjectStore, principal: str, conversation_id: str) -> None:
        self.state = state
        self._folder = owner_key(principal)
        self._id = conversation_id

    def name(self, part: int) -> str:
        """Returns the object of a part; only first parts are among what a listing finds."""
        if part == 1:
            return f"conversations/{self._folder}/{self._id}.jsonl"
        return f"conversation-parts/{self._folder}/{self._id}/{part}.jsonl"

    async def tail(self) -> Tail:
        """Reads the end.

        Raises:
            ObjectMissing: There is no such conversation.
        """
        part = 1
        while True:
            try:
                info = await self.state.describe(self.name(part))
            except ObjectMissing:
                if part == 1:
                    raise
                # Whoever announced this part died before it began it.
                return Tail(Place(part, 0), 0)
            end = Place(part, info.size)
            newest = await self._lines_before(end, FIRST_READ_BYTES)
            if not newest or newest[0].line["type"] != "next":
                appends = newest[0].line["append"] if newest else 0
                return Tail(end, appends, newest, info.age_seconds)
            part += 1

    async def backwards(
        self, tail: Tail | None = None, before: Place | None = None
    ) -> AsyncGenerator[PlacedLine, None]:
        """Yields lines, newest first.

        Args:
            tail: Begin with what was read there.
            before: Begin before this place; else at the tail's end.
        """
        lines = tail.newest if tail else ()
        place = before or (tail.end if tail else Place(1, 0))
        size = FIRST_READ_BYTES
        while True:
            for each in lines:
                if each.line["type"] != "next":
                    yield each
                place = each.place
            if place.offset == 0:
                if place.part == 1:
                    return
                name = self.name(place.part - 1)
                place = Place(place.part - 1, (await self.state.describe(name)).size)
            lines = await self._lines_before(place, size)
            size = min(size * 4, MAX_READ_BYTES)

    async def first_line(self) -> Line:
        """Returns the line that a conversation begins with.

        Raises:
            ObjectMissing: There is no such conversation.
        """
        try:
            data = await self.read_range(1, 0, FIRST_LINE_BYTES)
        except RangeNotSatisfiable:
            data = b""
        if b"\n" not in data:
            # Whoever began it died between making the object and its first append.
            raise ObjectMissing(self.name(1))
        line: Line = json.loads(data.partition(b"\n")[0])
        return line

    async def delete(self, last_part: int) -> None:
        """Deletes all parts, the one that makes the conversation known last."""
        for part in range(last_part, 0, -1):
            await self.state.delete(self.name(part))

    async def _lines_before(self, end: Place, size: int) -> Sequence[PlacedLine]:
        """Reads whole lines up to a place, newest first; none only at the beginning."""
        while end.offset:
            start = max(0, end.offset - size)
            data = await self.read_range(end.part, start, end.offset)
            skipped = 0 if start == 0 else data.find(b"\n") + 1
            if start == 0 or 0 < skipped < len(data):
                return _place(data[skipped:], end.part, start + skipped)
            size *= 4
        return ()

    async def read_range(self, part: int, start: int, end: int) -> bytes:
        """Returns the bytes of a part from ``start`` up to ``end``, as far as there are any."""
        while True:
            # What is there does not change, but a long range is not read in one go while the log grows.
            with suppress(ObjectChanged):
                async with self.state.open(self.name(part), start, end - 1) as stream:
                    return b"".join([chunk async for chunk in stream.chunks])


class LogWriter:
    """Appends to a log whose end the writer knows; fails once somebody else has appended.

    Args:
        log: The log.
        tail: Its end; None for one that does not exist yet.
        storage: Tells the time that lines say, and how often to try.
    """

    def __init__(self, log: ConversationLog, tail: Tail | None, storage: Storage) -> None:
        self._log = log
        self._clock = storage.clock
        self._attempts = storage.timing.storage_attempts
        self._end = tail.end if tail else Place(1, 0)
        self._appends = tail.appends if tail else 0
        self._turns = asyncio.Lock()
        self._uncertain = b""

    async def append(self, *lines: Line) -> None:
        """Appends lines together: either all of them are stored or none.

        A caller who is cancelled does not end the append, or nobody would know where the log ends.

        Args:
            lines: What to append.

        Raises:
            ObjectChanged: Another writer has appended, or deleted the log.
            StorageUnavailable: They are not stored, as far as can be known.
        """
        await asyncio.shield(asyncio.create_task(self._append(lines)))

    async def settle(self) -> bool:
        """Finds out whether the last append was done after all, though it failed.

        Raises:
            StorageUnavailable: It is still not known.
        """
        async with self._turns:
            return await retry_write(self._settle, self._attempts)

    async def _append(self, lines: Sequence[Line]) -> None:
        async with self._turns:
            await retry_write(self._settle, self._attempts)
            if self._appends >= MAX_APPENDS:
                await self._put([{"type": "next"}])
                self._end, self._appends = Place(self._end.part + 1, 0), 0
            await self._put(lines)

    async def _put(self, lines: Sequence[Line]) -> None:
        stamp = {"append": self._appends + 1, "at": iso_utc(self._clock())}
        data = b"".join(
            # Halves of characters could be stored, but never be shown.
            json.dumps({**line, **stamp}, ensure_ascii=False, separators=(",", ":")).encode(
                errors="replace"
            )
            + b"\n"
            for line in lines
        )
        # The position makes a repeat safe: after an append whose answer was lost it does not hold.
        await retry_write(lambda: self._put_once(data), self._attempts)

    async def _put_once(self, data: bytes) -> None:
        if await self._settle():
            return
        name = self._log.name(self._end.part)
        self._uncertain = data
        try:
            await self._log.state.append(name, data, self._end.offset)
        except ObjectChanged:
            if not await self._settle():
                raise
        else:
            self._uncertain = b""
            self._advance(data)

    async def _settle(self) -> bool:
        """Finds out whether an append was done whose answer was lost.

        Raises:
            StorageUnavailable: It is still not known.
        """
        data, start = self._uncertain, self._end.offset
        if not data:
            return False
        try:
            found = await self._log.read_range(self._end.part, start, start + len(data))
        except (ObjectMissing, RangeNotSatisfiable):
            found = b""
        self._uncertain = b""
        if found != data:
            return False
        self._advance(data)
        return True

    def _advance(self, data: bytes) -> None:
        self._end = Place(self._end.part, self._end.offset + len(data))
        self._appends += 1


def _place(data: bytes, part: int, offset: int) -> Sequence[PlacedLine]:
    placed = []
    for text in data.splitlines(keepends=True):
        placed.append(PlacedLine(Place(part, offset), json.loads(text)))
        offset += len(text)
    return placed[::-1]
