"""One principal's log of one UTC day, written by all instances at once.

Every append names the position that it expects, so an instance that appends has read all that stands
before: it knows exactly what is used, and limits hold over all instances without a lock. What comes
while an append is under way goes into the next one together.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime
from itertools import islice

from shared.deadline import create_detached_task
from shared.errors import GatewayError, LimitReached, StorageUnavailable
from shared.settings import Limits
from shared.storage import LogFull, ObjectChanged, ObjectStore
from shared.usage.limits import Demand, MonthBefore, Standing, check, standings
from shared.usage.lines import Batch, Entry, Reserved, added, encode, key_of, void
from shared.usage.log_parts import Place, log_name, read_on, read_tail
from shared.usage.pending import Pending
from shared.usage.totals import WINDOW_SECONDS, Totals

MAX_BATCH_ENTRIES = 500
MAX_WAITING_ENTRIES = 20_000
"""Maximum entries that wait while storage is down; what comes then is logged and not booked."""

RESERVATION_ATTEMPTS = 3
"""How often an append is tried before the calls that wait for it are refused."""

SETTLING_SECONDS = 0.1
"""How long the end of a call waits for others where no limit applies."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 15.0

logger = logging.getLogger(__name__)


class DayLog:
    """Appends to a log, in batches, and knows what the log adds up to.

    Args:
        state: Where it is.
        owner: The principal, as in names of stored things.
        day: The UTC day.
        clock: Tells the time.
        previous: The log of the day before, whose last minutes still matter at midnight.

    Attributes:
        totals: What is used, as far as this instance has read.
        before: What the earlier days of the month add up to.
    """

    def __init__(
        self,
        state: ObjectStore,
        owner: str,
        day: date,
        clock: Callable[[], datetime],
        previous: "DayLog | None" = None,
    ) -> None:
        self.day = day
        self.totals = Totals()
        self.before = MonthBefore()
        self._state = state
        self._owner = owner
        self._clock = clock
        self._previous = previous
        self._place: Place | None = None
        self._is_current = False
        self._reads = 0
        self._finished_reads = 0
        self._waiting: deque[Pending] = deque()
        self._unsure: dict[tuple[str, str, float], Pending] = {}
        self._writing: asyncio.Task[None] | None = None
        self._waking: asyncio.TimerHandle | None = None
        self._has_limits = False

    @property
    def is_idle(self) -> bool:
        """Whether everything is written."""
        return not self._waiting

    def write(self, *entries: Entry) -> None:
        """Has entries appended, without waiting for it; while storage is down they wait.

        Reservations are appended at once, so that a crash loses those only whose append was under way.
        Other entries wait a moment for more, unless limits apply: then somebody may wait for the room
        that they make.
        """
        if len(self._waiting) >= MAX_WAITING_ENTRIES:
            logger.error("Usage was not booked: storage is down, and too much waits for it.")
            return
        self._waiting.append(Pending(entries, self._reads))
        if isinstance(entries[0], Reserved):
            self._wake()
        else:
            self._wake_in(SETTLING_SECONDS)

    async def reserve(self, entry: Reserved, limits: Limits) -> list[Standing]:
        """Appends a reservation if it fits into the limits.

        Returns:
            How much of each limit is used, with the reservation.

        Raises:
            LimitReached: It does not fit; nothing was appended.
            StorageUnavailable: The log cannot be written.
        """
        if len(self._waiting) >= MAX_WAITING_ENTRIES:
            raise StorageUnavailable(
                "Limits apply, and storage is too slow to count. Try again.", 5
            )
        self._has_limits = True
        pending = Pending((entry,), self._reads, limits, asyncio.Future())
        self._waiting.append(pending)
        self._wake()
        try:
            found: list[Standing] = await pending.decided  # type: ignore[misc]
        except asyncio.CancelledError:
            self._give_up(pending)
            raise
        return found

    async def flush(self) -> None:
        """Waits until everything is written that was to be when this was called.

        Raises:
            StorageUnavailable: It cannot be written now, and waits on.
        """
        if self._waiting:
            marker = Pending((), self._reads, decided=asyncio.Future())
            self._waiting.append(marker)
            self._wake()
            await marker.decided  # type: ignore[misc]

    async def refresh(self) -> None:
        """Reads what other instances have appended.

        Raises:
            StorageUnavailable: It cannot be read.
        """
        marker = Pending((), self._reads, decided=asyncio.Future())
        self._waiting.append(marker)
        self._is_current = False
        self._wake()
        await marker.decided  # type: ignore[misc]

    def _wake_in(self, seconds: float) -> None:
        """Has entries appended after some seconds, or sooner where others have to be."""
        loop = asyncio.get_running_loop()
        if self._has_limits:
            self._wake()
        elif self._waking is None or self._waking.when() > loop.time() + seconds:
            self._cancel_waking()
            self._waking = loop.call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._cancel_waking()
        if self._writing is None or self._writing.done():
            self._writing = create_detached_task(self._write_all())

    def _cancel_waking(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None

    async def _write_all(self) -> None:
        failures = 0
        while self._waiting:
            try:
                await self._write_some()
                failures = 0
            except GatewayError as error:
                failures += 1
                if failures >= RESERVATION_ATTEMPTS:
                    self._refuse_all(error)
                pause = FIRST_PAUSE_SECONDS * 2 ** min(failures, 10)
                await asyncio.sleep(min(LONGEST_PAUSE_SECONDS, pause))
            except Exception as error:
                # Awaits nothing: what comes later is still to be tried.
                self._refuse_all(error)
                if not _has_no_threads():
                    logger.exception("A log of usage cannot be written", exc_info=error)
                elif self._are_reservations_waiting:
                    logger.error(
                        "Usage was not booked: the process ends, and storage cannot be written."
                    )
                self._waiting.clear()

    async def _write_some(self) -> None:
        if not self._is_current:
            await self._catch_up()
        chosen = self._choose()
        if chosen is None:
            await self._catch_up()
        elif any(pending.entries for pending in chosen):
            await self._append(chosen)
        else:
            self._finish(chosen)

    def _choose(self) -> list[Pending] | None:
        """Returns what the next append holds, and refuses what does not fit.

        None where the refusal rests on what other instances may have changed meanwhile.
        """
        now = self._clock()
        chosen: list[Pending] = []
        taken = Demand()
        for pending in list(islice(self._waiting, MAX_BATCH_ENTRIES)):
            if pending.is_given_up:
                self._waiting.remove(pending)
                continue
            if pending.limits is not None:
                try:
                    check(self._standings(pending.limits, now), taken, pending.demand, now)
                except LimitReached as error:
                    if any(each.limits is None for each in chosen):
                        # What is settled by this append may make room.
                        continue
                    if self._finished_reads <= pending.reads:
                        return None
                    self._waiting.remove(pending)
                    pending.refuse(error)
                    continue
                taken += pending.demand
            chosen.append(pending)
        return chosen

    def _standings(self, limits: Limits, now: datetime) -> list[Standing]:
        return standings(limits, self.totals, self.before, now)

    async def _append(self, chosen: Sequence[Pending]) -> None:
        place = self._place or Place()
        if place.is_full:
            place = Place(place.part + 1)
        entries = tuple(entry for pending in chosen for entry in pending.entries)
        sums = added(self.totals.sums, entries)
        line = encode(Batch(n=place.appends + 1, sums=sums, entries=entries))
        # Known again by these, where only the answer is lost.
        self._unsure |= {key_of(each.entries[0]): each for each in chosen if each.entries}
        self._is_current = False
        try:
            offset = await self._state.append(
                log_name(self._owner, self.day, place.part),
                b"\n" + line if place.rest else line,
                place.offset,
            )
        except LogFull:
            self._place = Place(place.part + 1)
            return
        except ObjectChanged:
            return
        self._place = Place(place.part, offset, place.appends + 1)
        self._is_current = True
        self._unsure.clear()
        self.totals.add(entries, sums)
        self._finish(chosen)

    async def _catch_up(self) -> None:
        """Reads what all instances have appended since the last read."""
        self._reads += 1
        began = self._reads
        if self._place is None:
            since = self._clock().timestamp() - WINDOW_SECONDS
            tail = await read_tail(self._state, self._owner, self.day, since)
            if self._previous is not None:
                await self._previous.refresh()
                self.totals.continue_from(self._previous.totals)
                # Each day's log would keep all that came before.
                self._previous = None
            batches: Sequence[Batch] = tail.batches if tail else ()
            self._place = tail.place if tail else Place()
        else:
            batches = await read_on(self._state, self._owner, self.day, self._place)
        for batch in batches:
            self.totals.read(batch)
            ours = [self._unsure.pop(key_of(entry), None) for entry in batch.entries]
            self._finish([pending for pending in ours if pending is not None])
        self._is_current = True
        self._finished_reads = began

    def _finish(self, done: Sequence[Pending]) -> None:
        """Tells whoever waits that entries are stored."""
        now = self._clock()
        for pending in done:
            with suppress(ValueError):
                self._waiting.remove(pending)
            pending.is_stored = True
            if pending.is_given_up:
                self._void(pending)
            else:
                limits = pending.limits
                pending.tell(self._standings(limits, now) if limits else ())

    def _give_up(self, pending: Pending) -> None:
        """Takes a reservation back, or has it voided where it may be stored."""
        pending.is_given_up = True
        if pending.is_stored:
            self._void(pending)

    def _void(self, pending: Pending) -> None:
        entry = pending.entries[0]
        if isinstance(entry, Reserved):
            self.write(void(entry, self._clock()))

    def _refuse_all(self, error: Exception) -> None:
        """Refuses whoever waits; what is only to be booked waits for storage."""
        for pending in [each for each in self._waiting if each.decided is not None]:
            self._waiting.remove(pending)
            pending.is_given_up = True
            pending.refuse(error)

    @property
    def _are_reservations_waiting(self) -> bool:
        """Whether usage would be missing; what is only not settled counts as it was reserved."""
        entries = (entry for pending in self._waiting for entry in pending.entries)
        return any(isinstance(entry, Reserved) for entry in entries)


def _has_no_threads() -> bool:
    """Returns whether the loop runs no threads any more, which storage works in: the process ends."""
    try:
        asyncio.get_running_loop().run_in_executor(None, int)
    except RuntimeError:
        return True
    return False
