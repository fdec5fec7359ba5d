"""Records: JSON objects with a version that several instances read and change.

A change is made to what is stored, or not at all: it is written on condition that nobody has written
since, and made again to what is then stored. `shared.storage.leases` has the records that can be held.
"""

import asyncio
import base64
import random
import string
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar
from weakref import WeakValueDictionary

from pydantic import BaseModel

from shared.errors import Conflict
from shared.parallel import gather_limited
from shared.storage.objects import ObjectConflict, ObjectInfo, ObjectMissing, ObjectStore
from shared.storage.read_objects import ReadObjects

MAX_ATTEMPTS = 30
FIRST_BACKOFF_SECONDS = 0.01
LONGEST_BACKOFF_SECONDS = 0.5
PARALLEL_READS = 8


class Record(BaseModel):
    """The base of stored records.

    Attributes:
        v: The version of what is stored.
    """

    v: Literal[1] = 1


RecordT = TypeVar("RecordT", bound=Record)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Versioned(Generic[RecordT]):
    """A record as it was read or written.

    Attributes:
        name: Its object.
        record: The record.
        etag: Its version in storage.
        age_seconds: How old its last write was when it was read, by the clock of storage.
    """

    name: str
    record: RecordT
    etag: str
    age_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RecordPage(Generic[RecordT]):
    """A part of a listing.

    Attributes:
        records: In the order of their names.
        cursor: Where the next part begins; None at the end.
    """

    records: tuple[Versioned[RecordT], ...]
    cursor: str | None


class Records(Generic[RecordT]):
    """Records of one kind.

    Args:
        state: The container that they are in.
        model: Their model.
        attempts: How often a change is tried while other writers are faster.
    """

    def __init__(
        self, state: ObjectStore, model: type[RecordT], attempts: int = MAX_ATTEMPTS
    ) -> None:
        self._state = state
        self._attempts = attempts
        self._model = model
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._listed: ReadObjects[bytes] = ReadObjects()

    async def get(self, name: str) -> Versioned[RecordT]:
        """Returns a record.

        Raises:
            ObjectMissing: There is none.
        """
        data, info = await self._state.read(name)
        record = self._model.model_validate_json(data)
        return Versioned(name, record, info.etag, info.age_seconds)

    async def find(self, name: str) -> Versioned[RecordT] | None:
        """Returns a record, None where there is none."""
        try:
            return await self.get(name)
        except ObjectMissing:
            return None

    async def create(self, name: str, record: RecordT) -> Versioned[RecordT]:
        """Stores a new record.

        Args:
            name: Its object.
            record: The record.

        Raises:
            ObjectExists: There is one already.
        """
        info = await self._state.create(name, _json(record))
        return Versioned(name, record, info.etag)

    async def replace(self, stored: Versioned[RecordT], record: RecordT) -> Versioned[RecordT]:
        """Replaces a record that nobody has changed since it was read.

        Args:
            stored: The record as it was read or written last.
            record: What takes its place.

        Raises:
            ObjectChanged: Somebody has changed or deleted it.
        """
        info = await self._state.replace(stored.name, _json(record), stored.etag)
        return Versioned(stored.name, record, info.etag)

    async def change(
        self,
        name: str,
        make: Callable[[RecordT], ResultT],
        *,
        default: Callable[[], RecordT] | None = None,
    ) -> ResultT:
        """Changes a record, again from what is then stored where another writer was faster.

        Args:
            name: Its object.
            make: Changes the record that it is given, and returns what `change` returns. It may be
                called several times, and may raise.
            default: Makes the record that is changed and created where there is none.

        Raises:
            ObjectMissing: There is none, and no default.
            Conflict: Others were faster every time.
        """

        async def attempt() -> ResultT:
            try:
                stored = await self.get(name)
            except ObjectMissing:
                if default is None:
                    raise
                record = default()
                result = make(record)
                await self.create(name, record)
            else:
                result = make(stored.record)
                await self.replace(stored, stored.record)
            return result

        return await self.compete(name, attempt)

    async def compete(self, name: str, attempt: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Makes attempts at changing a record until one is not overtaken by another writer.

        Args:
            name: Its object.
            attempt: Reads the record, changes it and replaces it.

        Raises:
            Conflict: Others were faster every time.
        """
        # Only one writer of each instance competes with those of the other instances.
        async with self._locks.setdefault(name, asyncio.Lock()):
            for failures in range(self._attempts):
                with suppress(ObjectConflict):
                    return await attempt()
                # Jitter, because whoever lost together would otherwise come back together.
                longest = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**failures)
                await asyncio.sleep(random.uniform(0, longest))  # noqa: S311  # Not secret.
        raise Conflict("The resource is being modified concurrently. Retry the request.", 1)

    async def list(
        self, prefix: str, limit: int = 100, cursor: str | None = None
    ) -> RecordPage[RecordT]:
        """Lists records whose names begin with a prefix; those deleted meanwhile are left out.

        Args:
            prefix: How their names begin.
            limit: Most records to read.
            cursor: Where to begin, from the last page.

        Raises:
            ValueError: The cursor is not one that a listing gave.
        """
        begin = None if cursor is None else decode_cursor(cursor)
        page = await self._state.list(prefix, limit, begin)
        found = await gather_limited(
            PARALLEL_READS, (self._find_listed(each) for each in page.objects)
        )
        end = None if page.cursor is None else encode_cursor(page.cursor)
        return RecordPage(tuple(filter(None, found)), end)

    async def _find_listed(self, info: ObjectInfo) -> Versioned[RecordT] | None:
        # What has the version that the listing says need not be read again.
        if data := self._listed.get(info):
            return Versioned(info.name, self._model.model_validate_json(data), info.etag)
        try:
            data, read = await self._state.read(info.name)
        except ObjectMissing:
            return None
        self._listed.set(read, data, len(data))
        return Versioned(info.name, self._model.model_validate_json(data), read.etag)

    async def ids(self, folder: str, begin: str, limit: int) -> Sequence[str]:
        """Returns the newest ids of records of a folder that begin with a text, without reading them.

        Args:
            folder: The folder, with a slash at the end.
            begin: The first hex digits of the ids; other texts match none.
            limit: Most ids to return.
        """
        return await list_ids(self._state, folder, begin, limit)

    async def delete(self, name: str) -> bool:
        """Deletes a record and says whether there was one."""
        return await self._state.delete(name)


async def list_ids(state: ObjectStore, folder: str, begin: str, limit: int) -> Sequence[str]:
    """Returns the newest ids of what a folder holds that begin with a text, without reading it.

    Args:
        state: The container.
        folder: The folder, with a slash at the end.
        begin: The first hex digits of the ids; other texts match none.
        limit: Most ids to return.
    """
    if not all(each in string.hexdigits for each in begin):
        return []
    page = await state.list(f"{folder}{begin.lower()}", limit)
    return [each.name.rpartition("/")[2].partition(".")[0] for each in page.objects]


def encode_cursor(place: str) -> str:
    """Returns an opaque cursor, which does not show the names of stored objects."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """Returns the place in a listing of `ObjectStore.list` that a cursor stands for.

    Raises:
        ValueError: The cursor is not one that `encode_cursor` returned.
    """
    try:
        place = base64.b64decode(
            f"{cursor}{'=' * (-len(cursor) % 4)}", b"-_", validate=True
        ).decode()
    except ValueError as error:
        raise ValueError("This cursor is not one that a listing gave.") from error
    if not place.isprintable():
        raise ValueError("This cursor is not one that a listing gave.")
    return place


def _json(record: Record) -> bytes:
    return record.model_dump_json().encode()
