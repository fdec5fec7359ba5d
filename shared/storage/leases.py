"""Leases: a record is held while work is done for it. A conversation's is in `conversations/runs.py`.

Its holder renews the lease by writing the record again; another run takes the record over once its last
write is too old, because the holder died. The clock of storage says how old, because those of instances
may differ.
"""

import asyncio
import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Generic, TypeVar

from shared.background import Background
from shared.deadline import create_detached_task, remaining_seconds
from shared.errors import Conflict, GatewayError
from shared.storage.objects import (
    ObjectChanged,
    ObjectConflict,
    ObjectExists,
    ObjectMissing,
    ObjectStore,
    unreadable,
)
from shared.storage.records import Record, Records, Versioned
from shared.storage.retries import ANSWER_SECONDS, keep_retrying, retry_write
from shared.timing import Timing

MAX_CONFLICTS = 10
"""Maximum writes of other fields that overtake one write of a lease."""

LAST_WRITE_SECONDS = 30.0
"""How long a record is tried to be written at the end of its lease while storage fails."""

logger = logging.getLogger(__name__)


class LeasedRecord(Record):
    """The base of records that can be held.

    Attributes:
        holder: A random id of the run that holds it; None where none does.
    """

    holder: str | None = None


LeasedT = TypeVar("LeasedT", bound=LeasedRecord)


class Renewal:
    """A task that renews a lease until it is stopped.

    Nothing cancels it: of a write that was cut off nobody knows whether it happened.

    Args:
        renew: Renews once, and says whether to go on.
        seconds: The pause before each renewal.
    """

    def __init__(self, renew: Callable[[], Awaitable[bool]], seconds: float) -> None:
        self._is_over = asyncio.Event()
        # Detached, because it outlives the scope of whoever begins it.
        self._task = create_detached_task(self._run(renew, seconds))

    def stop(self) -> None:
        """Ends the renewal, after the write that is under way."""
        self._is_over.set()

    async def wait(self) -> None:
        """Waits until it has ended."""
        await asyncio.wait({self._task})

    async def _run(self, renew: Callable[[], Awaitable[bool]], seconds: float) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_over.wait(), seconds)
            if self._is_over.is_set() or not await renew():
                return


class Lease(Generic[LeasedT]):
    """A record that this run holds.

    Args:
        records: Where it is.
        stored: The record as this run wrote it.
        is_repeat: Whether an earlier run held it.
    """

    def __init__(
        self, records: Records[LeasedT], stored: Versioned[LeasedT], *, is_repeat: bool
    ) -> None:
        self._records = records
        self._stored = stored
        self._holder = stored.record.holder
        self._changes: dict[str, object] = {}
        self._is_lost = False
        self.is_repeat = is_repeat

    @property
    def record(self) -> LeasedT:
        """The record as it was written last."""
        return self._stored.record

    def finish(self, **changes: object) -> None:
        """Sets fields of the record, which are written when the lease ends."""
        self._changes |= changes
        record = self.record.model_copy(update=changes)
        self._stored = Versioned(self._stored.name, record, self._stored.etag)

    async def write(self) -> bool:
        """Writes the record; a failure is only logged, because the work goes on.

        Returns:
            Whether the record is still held.
        """
        try:
            self._stored = await self._write()
        except (ObjectConflict, ObjectMissing, GatewayError) as error:
            logger.warning("A record that is held was not written: %s", type(error).__name__)
        return not self._is_lost

    async def end(self) -> None:
        """Writes the record for the last time, for other runs to hold."""
        self.finish(holder=None)
        with keep_retrying(LAST_WRITE_SECONDS):
            await self.write()

    async def _write(self) -> Versioned[LeasedT]:
        for _ in range(MAX_CONFLICTS):
            with suppress(ObjectConflict):
                return await self._replace()
            # The lease may still be held: an earlier write can have succeeded without an answer, and
            # another writer can have changed other fields.
            found = await self._records.get(self._stored.name)
            if found.record.holder != self._holder:
                self._is_lost = True
                raise ObjectChanged(self._stored.name)
            record = found.record.model_copy(update=self._changes)
            self._stored = Versioned(found.name, record, found.etag)
        return await self._replace()

    async def _replace(self) -> Versioned[LeasedT]:
        # Only the last write is retried; it would fail where nothing else retries, as in a folder.
        written = await retry_write(
            lambda: self._records.replace(self._stored, self._stored.record), attempts=1
        )
        # Read after it: what was set while a renewal was under way is written by the next write.
        return Versioned(written.name, self._stored.record, written.etag)


class LeasedRecords(Records[LeasedT]):
    """Records of one kind that can be held.

    Args:
        state: The container that they are in.
        model: Their model.
        timing: How long leases and pauses are.
        background: Writes records at the end of their lease, even when the caller is cancelled.
    """

    def __init__(
        self, state: ObjectStore, model: type[LeasedT], timing: Timing, background: Background
    ) -> None:
        super().__init__(state, model)
        self._timing = timing
        self._background = background

    @asynccontextmanager
    async def hold(
        self,
        name: str,
        needs_work: Callable[[LeasedT], bool],
        fresh: Callable[[], LeasedT] | None,
        busy: str,
    ) -> AsyncIterator[Lease[LeasedT] | LeasedT]:
        """Holds a record while the block runs, renews the lease, and releases it at the end.

        Args:
            name: The record.
            needs_work: Whether an existing record is to be held; may raise.
            fresh: Makes the record where there is none; None for records that must exist.
            busy: What to tell the caller where another run holds it until the scope is nearly over.

        Yields:
            The lease; or the record where it needs no work.

        Raises:
            Conflict: Another run still holds it when the scope is nearly over.
            ObjectMissing: There is none, and ``fresh`` is None.
            StorageUnavailable: It cannot be read or written.
        """
        claim = _Claim(self, name, needs_work, fresh, self._timing)
        found = await claim.take_or_wait(busy)
        if not isinstance(found, Lease):
            yield found
            return
        renewal = Renewal(found.write, self._timing.renewal)

        async def end() -> None:
            renewal.stop()
            await renewal.wait()
            await found.end()

        try:
            yield found
        finally:
            await self._background.finish(end())


class _Claim(Generic[LeasedT]):
    """Attempts to hold one record."""

    def __init__(
        self,
        records: Records[LeasedT],
        name: str,
        needs_work: Callable[[LeasedT], bool],
        fresh: Callable[[], LeasedT] | None,
        timing: Timing,
    ) -> None:
        self._records = records
        self._name = name
        self._needs_work = needs_work
        self._fresh = fresh
        self._timing = timing
        self._holder = secrets.token_hex(16)

    async def take_or_wait(self, busy: str) -> Lease[LeasedT] | LeasedT:
        """Returns our lease, or the record once it needs no work."""
        pause = self._timing.first_poll
        error: GatewayError = Conflict(busy, self._timing.renewal)
        # Most records are new; who waits for another run expects its record.
        first, others = self._create_or_take, self._take_or_create
        if self._fresh is None:
            first = others = self._take
        for attempt in itertools.chain([first], itertools.repeat(others)):
            try:
                found = await attempt()
            except ObjectConflict:
                # Another run was faster; what it does shows at the next look.
                pass
            except ObjectMissing:
                if self._fresh is None:
                    raise
                error = unreadable()
            else:
                if found is not None:
                    return found
            if remaining_seconds() < pause + ANSWER_SECONDS:
                raise error
            await asyncio.sleep(pause)
            pause = min(self._timing.longest_poll, pause * 2)
        raise AssertionError("unreachable: attempts never end")

    async def _create_or_take(self) -> Lease[LeasedT] | LeasedT | None:
        with suppress(ObjectExists):
            if self._fresh is None:
                raise ObjectMissing(self._name)
            record = self._fresh().model_copy(update={"holder": self._holder})
            created = await self._records.create(self._name, record)
            return Lease(self._records, created, is_repeat=False)
        return await self._take()

    async def _take_or_create(self) -> Lease[LeasedT] | LeasedT | None:
        with suppress(ObjectMissing):
            return await self._take()
        return await self._create_or_take()

    async def _take(self) -> Lease[LeasedT] | LeasedT | None:
        """Returns a record that needs no work, or takes it; None while another run holds it."""
        found = await self._records.get(self._name)
        if not self._needs_work(found.record):
            return found.record
        if found.record.holder is not None and found.age_seconds < self._timing.lease:
            return None
        record = found.record.model_copy(update={"holder": self._holder})
        return Lease(self._records, await self._records.replace(found, record), is_repeat=True)
