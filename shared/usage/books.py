"""The logs of all principals that this instance writes to, each opened by its first use."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.deadline import create_detached_task
from shared.errors import GatewayError
from shared.storage import ObjectConflict, ObjectStore, Record, Records, owner_key
from shared.usage.limits import MonthBefore
from shared.usage.log import DayLog
from shared.usage.rollups import RollUps
from shared.usage.totals import WINDOW_SECONDS

MAX_BOOKS = 1000
"""Maximum principals whose logs are kept open; the others are opened again."""

MONTH_TTL = timedelta(minutes=10)
"""How long what earlier days add up to is taken from memory: calls of yesterday may still be settled."""


class PrincipalRecord(Record):
    """The name behind the logs of a principal.

    Attributes:
        name: The name, or a pseudonym where its person's data were deleted.
    """

    name: str


def principal_record(owner: str) -> str:
    """Returns the object that names a principal."""
    return f"usage/principals/{owner}.json"


@dataclass
class _Book:
    """What is known of one principal.

    Attributes:
        log: Today's log.
        is_named: Whether the principal's name is stored, or is being stored.
        month_known_at: When the earlier days of the month were added up.
        adding_up: Lets one call do so at a time.
    """

    log: DayLog
    is_named: bool
    month_known_at: datetime | None = None
    adding_up: asyncio.Lock = field(default_factory=asyncio.Lock)


class Books:
    """Today's logs of all principals.

    Args:
        state: Where they are.
        rollups: What earlier days add up to.
        clock: Tells the time.
    """

    def __init__(self, state: ObjectStore, rollups: RollUps, clock: Callable[[], datetime]) -> None:
        self._state = state
        self._rollups = rollups
        self._clock = clock
        self._names = Records(state, PrincipalRecord)
        self._books: OrderedDict[str, _Book] = OrderedDict()
        self._naming: set[asyncio.Task[None]] = set()

    def log(self, principal: str) -> DayLog:
        """Returns a principal's log of today."""
        return self._book(principal).log

    async def log_with_month(self, principal: str) -> DayLog:
        """Returns a principal's log of today, which knows the earlier days of the month.

        Raises:
            StorageUnavailable: They cannot be read.
        """
        book = self._book(principal)
        async with book.adding_up:
            known_at = book.month_known_at
            if known_at is None or self._clock() - known_at > MONTH_TTL:
                owner, day = owner_key(principal), book.log.day
                sums = await self._rollups.sums_before(owner, day)
                book.log.before = MonthBefore(sums.tokens, sums.usd)
                book.month_known_at = self._clock()
        return book.log

    async def flush(self, principal: str | None = None) -> None:
        """Waits until what this instance has noted is stored.

        Args:
            principal: Whose calls; None for everybody's.

        Raises:
            StorageUnavailable: It cannot be stored now, and waits on.
        """
        names = list(self._books) if principal is None else [owner_key(principal)]
        books = [self._books[name] for name in names if name in self._books]
        await asyncio.gather(*(book.log.flush() for book in books))

    async def aclose(self, seconds: float) -> None:
        """Waits for the last lines, as long as given."""
        with suppress(GatewayError, TimeoutError):
            async with asyncio.timeout(seconds):
                await self.flush()
        await asyncio.gather(*self._naming, return_exceptions=True)

    def _book(self, principal: str) -> _Book:
        owner = owner_key(principal)
        now = self._clock()
        book = self._books.get(owner)
        if book is None or book.log.day != now.date():
            is_named = book is not None and book.is_named
            book = self._books[owner] = _Book(self._open(owner, now, book), is_named)
        if not book.is_named:
            book.is_named = True
            self._name(owner, principal)
        self._books.move_to_end(owner)
        if len(self._books) > MAX_BOOKS:
            oldest = next(iter(self._books))
            if self._books[oldest].log.is_idle:
                del self._books[oldest]
        return book

    def _open(self, owner: str, now: datetime, before: _Book | None) -> DayLog:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        previous = None
        if (now - midnight).total_seconds() < WINDOW_SECONDS:
            yesterday = now.date() - timedelta(days=1)
            if before is not None and before.log.day == yesterday:
                previous = before.log
            else:
                previous = DayLog(self._state, owner, yesterday, self._clock)
        return DayLog(self._state, owner, now.date(), self._clock, previous)

    def _name(self, owner: str, principal: str) -> None:
        """Stores the name behind an owner, beside what else goes on."""
        task = create_detached_task(self._store_name(owner, principal))
        self._naming.add(task)
        task.add_done_callback(self._naming.discard)

    async def _store_name(self, owner: str, principal: str) -> None:
        try:
            with suppress(ObjectConflict):
                await self._names.create(principal_record(owner), PrincipalRecord(name=principal))
        except GatewayError:
            # Tried again with the next call after this.
            if (book := self._books.get(owner)) is not None:
                book.is_named = False
