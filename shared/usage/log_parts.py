"""The objects that logs of usage consist of: their names, and how they are read."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date

from shared.storage import ObjectMissing, ObjectStore, RangeNotSatisfiable
from shared.usage.lines import Batch, decode

DAYS = "usage/days/"
MAX_APPENDS = 45_000
"""Maximum appends to one part of a log, then the next begins: append blobs take 50,000 blocks."""

READ_BYTES = 1024 * 1024
"""Bytes of one read: a longer one could meet an append in its middle."""

FIRST_TAIL_BYTES = 64 * 1024


def log_name(owner: str, day: date, part: int) -> str:
    """Returns the object of a part of a log."""
    return f"{DAYS}{day.isoformat()}/{owner}.{part}.jsonl"


@dataclass(slots=True)
class Place:
    """Where the next append to a log goes.

    Attributes:
        part: The part, counted from 1.
        offset: The byte in it.
        appends: Appends to the part so far.
        rest: Bytes after the last whole line: one that was cut off when a machine failed.
    """

    part: int = 1
    offset: int = 0
    appends: int = 0
    rest: bytes = field(default=b"", repr=False)

    @property
    def is_full(self) -> bool:
        """Whether the next append goes to the next part."""
        return self.appends >= MAX_APPENDS


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a log as it was read.

    Attributes:
        place: Where the next append goes.
        batches: The last appends, oldest first.
    """

    place: Place
    batches: tuple[Batch, ...]


async def read_range(state: ObjectStore, name: str, start: int, end: int | None = None) -> bytes:
    """Returns the bytes of an object from one byte to before another; none where there are none."""
    pieces: list[bytes] = []
    while end is None or start < end:
        stop = start + READ_BYTES if end is None else min(end, start + READ_BYTES)
        try:
            async with state.open(name, start, stop - 1) as stream:
                piece = b"".join([chunk async for chunk in stream.chunks])
        except (ObjectMissing, RangeNotSatisfiable):
            break
        pieces.append(piece)
        start += len(piece)
        if start < stop:
            break
    return b"".join(pieces)


async def read_on(state: ObjectStore, owner: str, day: date, place: Place) -> list[Batch]:
    """Returns what was appended to a log after a place, and moves the place there."""
    found: list[Batch] = []
    while True:
        data = await read_range(state, log_name(owner, day, place.part), place.offset)
        place.offset += len(data)
        whole, _, place.rest = (place.rest + data).rpartition(b"\n")
        batches = list(decode(whole))
        found += batches
        if batches:
            place.appends = batches[-1].n
        if not place.is_full:
            return found
        place.part, place.offset, place.appends, place.rest = place.part + 1, 0, 0, b""


async def read_tail(state: ObjectStore, owner: str, day: date, since: float) -> Tail | None:
    """Returns the end of a log with everything in it since a moment; None where there is no log.

    Args:
        state: Where it is.
        owner: The principal, as in names of stored things.
        day: Of the log.
        since: The moment, in seconds since 1970.
    """
    tail = last = await _part_tail(state, owner, day, 1, since)
    while last is not None and last.place.is_full:
        tail = last
        last = await _part_tail(state, owner, day, last.place.part + 1, since)
    if last is None or tail is None or last is tail:
        return tail
    return Tail(last.place, (*tail.batches, *last.batches))


async def _part_tail(
    state: ObjectStore, owner: str, day: date, part: int, since: float
) -> Tail | None:
    name = log_name(owner, day, part)
    try:
        size = (await state.describe(name)).size
    except ObjectMissing:
        return None
    start, length, data = size, FIRST_TAIL_BYTES, b""
    rest: bytes = b""
    while start > 0:
        begin = max(0, start - length)
        data = await read_range(state, name, begin, start) + data
        start, length = begin, length * 4
        whole, _, rest = data.rpartition(b"\n")
        # The first line is cut, unless it begins the object.
        batches = tuple(decode(whole if start == 0 else whole.partition(b"\n")[2]))
        if batches and (start == 0 or _moment(batches[0]) < since):
            return Tail(Place(part, size, batches[-1].n, rest), batches)
    return Tail(Place(part, size, 0, rest), ())


def _moment(batch: Batch) -> float:
    moments = [entry.at for entry in batch.entries if entry.t != "released"]
    return min(moments, default=float("inf"))


async def read_all(state: ObjectStore, owner: str, day: date) -> AsyncIterator[Batch]:
    """Yields everything in a log, part by part."""
    place = Place()
    while True:
        name = log_name(owner, day, place.part)
        data = await read_range(state, name, 0)
        appends = 0
        for batch in decode(data):
            appends = batch.n
            yield batch
        if appends < MAX_APPENDS:
            return
        place.part += 1
