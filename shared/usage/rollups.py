"""What whole days add up to: written once by housekeeping, so that nobody reads their logs again."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from datetime import date, datetime, timedelta

from shared.parallel import gather_limited
from shared.storage import ObjectConflict, ObjectStore, Record, Records
from shared.usage.lines import Sums
from shared.usage.log_parts import DAYS, read_all, read_tail
from shared.usage.rows import Row, calls_of, rows_of

SETTLED_AFTER = timedelta(hours=1)
"""How long after midnight a day is rolled up: no call lasts as long."""

FINAL_DAYS = 2
"""Age in days from which a roll-up does not change any more, and may be kept in memory."""

MAX_REMEMBERED_DAYS = 64
PARALLEL_READS = 16
PAGE = 1000


class PrincipalDay(Record):
    """What a principal used on one day.

    Attributes:
        rows: Its calls.
        sums: What counts against its limits.
    """

    rows: tuple[Row, ...]
    sums: Sums


class DayRollUp(Record):
    """What all principals used on one day.

    Attributes:
        size: Bytes of the logs that it was made of.
        principals: By principal, as in names of stored things.
    """

    size: int
    principals: dict[str, PrincipalDay]


class RollUps:
    """Roll-ups of days.

    Args:
        state: Where they are.
        clock: Tells the time.
    """

    def __init__(self, state: ObjectStore, clock: Callable[[], datetime]) -> None:
        self._state = state
        self._clock = clock
        self._records = Records(state, DayRollUp)
        self._final: OrderedDict[date, DayRollUp] = OrderedDict()

    async def find(self, day: date) -> DayRollUp | None:
        """Returns the roll-up of a day; None where there is none yet."""
        if day in self._final:
            self._final.move_to_end(day)
            return self._final[day]
        if self._clock().date() <= day:
            return None
        found = await self._records.find(_name(day))
        if found is None:
            return None
        if self._clock().date() - day > timedelta(days=FINAL_DAYS):
            self._final[day] = found.record
            if len(self._final) > MAX_REMEMBERED_DAYS:
                self._final.popitem(last=False)
        return found.record

    async def owners(self, day: date) -> dict[str, int]:
        """Returns the principals that have a log of a day, each with the bytes of its log."""
        sizes: dict[str, int] = {}
        async for name, size in self._logs(day):
            owner = name.rpartition("/")[2].partition(".")[0]
            sizes[owner] = sizes.get(owner, 0) + size
        return sizes

    async def read_day(self, owner: str, day: date) -> PrincipalDay:
        """Returns what a principal used on a day, from its log."""
        calls, sums = await calls_of(read_all(self._state, owner, day))
        return PrincipalDay(rows=tuple(rows_of(calls.values())), sums=sums)

    async def sums_before(self, owner: str, day: date) -> Sums:
        """Returns what counts against limits of a principal on the days of the month before one."""
        days = [day.replace(day=number) for number in range(1, day.day)]

        async def sums_of(each: date) -> Sums:
            if (rolled_up := await self.find(each)) is not None:
                found = rolled_up.principals.get(owner)
                return found.sums if found else Sums()
            tail = await read_tail(self._state, owner, each, float("inf"))
            return tail.batches[-1].sums if tail and tail.batches else Sums()

        found = await gather_limited(PARALLEL_READS, map(sums_of, days))
        return Sums(
            requests=sum(each.requests for each in found),
            tokens=sum(each.tokens for each in found),
            usd=sum(each.usd for each in found),
        )

    async def roll_up(self, days: int) -> int:
        """Makes the roll-ups of the last days that are missing or out of date.

        Args:
            days: The number of days to look at.

        Returns:
            The number of roll-ups written.
        """
        today = (self._clock() - SETTLED_AFTER).date()
        written = 0
        for back in range(1, days + 1):
            written += await self._roll_up_day(today - timedelta(days=back))
        return written

    async def _roll_up_day(self, day: date) -> bool:
        sizes = await self.owners(day)
        found = await self._records.find(_name(day)) if sizes else None
        size = sum(sizes.values())
        if not sizes or (found is not None and found.record.size == size):
            return False
        read = await gather_limited(PARALLEL_READS, (self.read_day(each, day) for each in sizes))
        rolled_up = DayRollUp(size=size, principals=dict(zip(sizes, read, strict=True)))
        try:
            if found is None:
                await self._records.create(_name(day), rolled_up)
            else:
                await self._records.replace(found, rolled_up)
        except ObjectConflict:
            # Another instance has rolled the day up meanwhile.
            return False
        return True

    async def _logs(self, day: date) -> AsyncIterator[tuple[str, int]]:
        cursor = None
        while True:
            page = await self._state.list(f"{DAYS}{day.isoformat()}/", PAGE, cursor)
            for each in page.objects:
                yield each.name, each.size
            cursor = page.cursor
            if cursor is None:
                return


def _name(day: date) -> str:
    return f"usage/rollups/{day.isoformat()}.json"
