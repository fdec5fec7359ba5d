"""Appends to the log of a conversation, each at an expected position: the fence between writers."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from shared.conversations.lines import Line, NextPartLine, encode
from shared.conversations.log import ConversationLog, Place, Tail
from shared.storage import (
    ObjectChanged,
    ObjectMissing,
    RangeNotSatisfiable,
    Storage,
    iso_utc,
    retry_write,
)

MAX_APPENDS = 49_000
"""Maximum appends to one part of a log; then the next part begins: append blobs take 50,000 blocks."""


class LogWriter:
    """Appends to a log whose end the writer knows; fails once another writer has appended.

    Args:
        log: The log.
        tail: Its end; None for one that does not exist yet.
        storage: Gives the time that lines say, and the number of attempts.
    """

    def __init__(self, log: ConversationLog, tail: Tail | None, storage: Storage) -> None:
        self._log = log
        self._clock = storage.clock
        self._attempts = storage.timing.storage_attempts
        self._end = tail.end if tail else Place(1, 0)
        self._appends = tail.appends if tail else 0
        self._lock = asyncio.Lock()
        self._uncertain = b""

    async def append(self, *lines: Line) -> None:
        """Appends lines together: either all of them are stored or none.

        Cancelling the caller does not end the append, or nobody would know where the log ends.

        Args:
            lines: The lines.

        Raises:
            ObjectChanged: Another writer has appended, or deleted the log.
            StorageUnavailable: They are not stored, as far as can be known.
        """
        await asyncio.shield(asyncio.create_task(self._append(lines)))

    async def was_stored(self) -> bool:
        """Finds out whether the last append was stored after all, though it failed.

        Raises:
            StorageUnavailable: It is still not known.
        """
        async with self._lock:
            return await retry_write(self._confirm, self._attempts)

    async def _append(self, lines: Sequence[Line]) -> None:
        async with self._lock:
            if self._uncertain:
                await retry_write(self._confirm, self._attempts)
            if self._appends >= MAX_APPENDS:
                await self._put([NextPartLine()])
                self._end, self._appends = Place(self._end.part + 1, 0), 0
            await self._put(lines)

    async def _put(self, lines: Sequence[Line]) -> None:
        append, at = self._appends + 1, iso_utc(self._clock())
        data = b"".join(encode(replace(line, append=append, at=at)) for line in lines)
        # The position makes a repeat safe: after an append whose answer was lost it no longer holds.
        await retry_write(lambda: self._put_once(data), self._attempts)

    async def _put_once(self, data: bytes) -> None:
        if await self._confirm():
            return
        name = self._log.name(self._end.part)
        self._uncertain = data
        try:
            await self._log.state.append(name, data, self._end.offset)
        except ObjectChanged:
            if not await self._confirm():
                raise
        else:
            self._uncertain = b""
            self._advance(data)

    async def _confirm(self) -> bool:
        """Finds out whether an append was stored whose answer was lost.

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
        self._log.note_size(self._end.part, self._end.offset)
