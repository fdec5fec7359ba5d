"""Reports of what was used: sums by day, model, door, tool or principal, and single calls."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from shared.parallel import gather_limited
from shared.storage import Records, Storage, owner_key, pseudonym_of
from shared.usage.books import PrincipalRecord, principal_record
from shared.usage.ledger import Ledger
from shared.usage.log_parts import read_all
from shared.usage.rollups import PARALLEL_READS, PrincipalDay
from shared.usage.rows import Call, Row, calls_of
from shared.usage.view import (
    GroupBy,
    RecordPage,
    UsageReport,
    show_record,
    show_row,
)

Format = Literal["json", "csv"]

NO_TOOL = "none"
"""Key of calls that no tool made."""

PARALLEL_DAYS = 4


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What a report is about.

    Attributes:
        first: Its first day.
        last: Its last day, which is a part of it.
        group_by: What a row is about.
        principal: Whose calls; None for everybody's.
    """

    first: date
    last: date
    group_by: GroupBy
    principal: str | None


class Reports:
    """Reports over the logs of all principals.

    Args:
        storage: Where the logs are.
        ledger: What this instance still has to write.
    """

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger
        self._rollups = ledger.rollups
        self._names = Records(storage.state, PrincipalRecord)

    async def usage(self, query: UsageQuery) -> UsageReport:
        """Returns what was used.

        Raises:
            StorageUnavailable: It cannot be read.
        """
        self._storage.check_configured()
        await self._ledger.books.flush(query.principal)
        groups: dict[str, Row] = {}
        owners: set[str] = set()
        days = list(_days(query.first, min(query.last, self._storage.clock().date())))
        read = await gather_limited(
            PARALLEL_DAYS, (self._day(day, query.principal) for day in days)
        )
        for day, principals in zip(days, read, strict=True):
            for owner, used in principals.items():
                for row in used.rows:
                    owners.add(owner)
                    _add(groups, _key(row, query.group_by, day, owner), row)
        if query.group_by == "principal":
            names = await self._names_of(owners)
            groups = {names[owner]: row for owner, row in groups.items()}
        total: dict[str, Row] = {}
        for row in groups.values():
            _add(total, "total", row)
        return UsageReport(
            first=query.first,
            last=query.last,
            group_by=query.group_by,
            rows=[show_row(key, groups[key]) for key in sorted(groups)],
            total=show_row("total", total.get("total") or Row(door="", tool=None, model="")),
        )

    async def records(
        self, principal: str | None, limit: int, cursor: str | None, first: date, last: date
    ) -> RecordPage:
        """Returns single calls, newest first.

        Args:
            principal: Whose; None for everybody's.
            limit: Most to return.
            cursor: Where to begin, as an earlier page says.
            first: The earliest day to look at.
            last: The latest day to look at.

        Raises:
            ValueError: The cursor is none.
            StorageUnavailable: They cannot be read.
        """
        self._storage.check_configured()
        before = _read_cursor(cursor)
        await self._ledger.books.flush(principal)
        found: list[tuple[str, Call]] = []
        latest = min(last, self._storage.clock().date())
        if before is not None:
            latest = min(latest, datetime.fromtimestamp(before[0], UTC).date())
        for day in reversed(list(_days(first, latest))):
            calls = [
                (owner, call)
                for owner, call in await self._calls(day, principal)
                if not call.reserved.is_shadow and (before is None or _place(call) < before)
            ]
            found += sorted(calls, key=lambda each: _place(each[1]), reverse=True)
            if len(found) > limit:
                break
        shown = found[:limit]
        names = await self._names_of(
            {owner for owner, _ in shown}
            | {call.reserved.speaker for _, call in shown if call.reserved.speaker}
        )
        now = self._storage.clock().timestamp()
        last_place = _place(shown[-1][1]) if len(found) > limit else None
        return RecordPage(
            [show_record(names, owner, call, now) for owner, call in shown],
            None if last_place is None else f"{last_place[0]!r}-{last_place[1]}",
        )

    async def forget(self, principal: str) -> None:
        """Puts a pseudonym in place of a principal's name, in all records and reports.

        Raises:
            StorageUnavailable: Storage failed; it can be repeated.
        """
        owner = owner_key(principal)
        name = principal_record(owner)
        if (await self._names.find(name)) is None:
            return

        def change(record: PrincipalRecord) -> None:
            record.name = pseudonym_of(principal)

        await self._names.change(name, change)

    async def _day(self, day: date, principal: str | None) -> Mapping[str, PrincipalDay]:
        """Returns what principals used on a day, by owner."""
        rolled_up = await self._rollups.find(day)
        if rolled_up is not None:
            if principal is None:
                return rolled_up.principals
            owner = owner_key(principal)
            used = rolled_up.principals.get(owner)
            return {} if used is None else {owner: used}
        owners = await self._owners(day, principal)
        read = await gather_limited(
            PARALLEL_READS, (self._rollups.read_day(owner, day) for owner in owners)
        )
        return dict(zip(owners, read, strict=True))

    async def _calls(self, day: date, principal: str | None) -> list[tuple[str, Call]]:
        async def read(owner: str) -> list[tuple[str, Call]]:
            calls, _ = await calls_of(read_all(self._storage.state, owner, day))
            return [(owner, call) for call in calls.values()]

        owners = await self._owners(day, principal)
        lists = await gather_limited(PARALLEL_READS, map(read, owners))
        return [call for calls in lists for call in calls]

    async def _owners(self, day: date, principal: str | None) -> list[str]:
        if principal is not None:
            return [owner_key(principal)]
        return list(await self._rollups.owners(day))

    async def _names_of(self, owners: set[str]) -> dict[str, str]:
        async def name_of(owner: str) -> str:
            found = await self._names.find(principal_record(owner))
            return f"unknown-{owner[:12]}" if found is None else found.record.name

        ordered = sorted(owners)
        names = await gather_limited(PARALLEL_READS, map(name_of, ordered))
        return dict(zip(ordered, names, strict=True))


def _days(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)


def _key(row: Row, group_by: GroupBy, day: date, owner: str) -> str:
    match group_by:
        case "day":
            return day.isoformat()
        case "model":
            return row.model
        case "door":
            return row.door
        case "tool":
            return row.tool or NO_TOOL
        case "principal":
            return owner


def _add(groups: dict[str, Row], key: str, row: Row) -> None:
    if key not in groups:
        groups[key] = Row(door="", tool=None, model="")
    groups[key].add(row)


def _place(call: Call) -> tuple[float, str]:
    return (call.reserved.at, call.reserved.id)


def _read_cursor(cursor: str | None) -> tuple[float, str] | None:
    if cursor is None:
        return None
    moment, separator, call_id = cursor.partition("-")
    if not separator:
        raise ValueError("This cursor is not one that a listing gave.")
    place = (float(moment), call_id)
    try:
        datetime.fromtimestamp(place[0], UTC)
    except (OverflowError, OSError) as error:
        raise ValueError("This cursor is not one that a listing gave.") from error
    return place
