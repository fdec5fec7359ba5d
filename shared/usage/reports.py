"""Reports of what was used: sums by day, model, door, tool or principal, and single calls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from pydantic import BaseModel

from shared.context import USD_PLACES
from shared.parallel import gather_limited
from shared.storage import Records, Storage, owner_key, pseudonym_of
from shared.storage.ids import iso_utc
from shared.usage.books import PrincipalRecord, principal_record
from shared.usage.ledger import Ledger
from shared.usage.log_parts import read_all
from shared.usage.rollups import PARALLEL_READS, PrincipalDay
from shared.usage.rows import Call, Row, calls_of

GroupBy = Literal["day", "model", "door", "tool", "principal"]
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


class UsageRow(BaseModel):
    """What the calls of one key add up to.

    Attributes:
        key: The day, model, door, tool or principal; ``total`` for all of them.
        requests: Calls at doors that asked a provider for something paid.
        provider_calls: Calls of providers.
        input_tokens: Input tokens that providers reported.
        cached_tokens: Input tokens of these that were cached.
        output_tokens: Output tokens that providers reported.
        images: Images made.
        seconds: Seconds of audio heard and of video made.
        cost_usd: US dollars of the calls whose price is known; null where no price is.
        unpriced_requests: Requests with a call whose price nobody knows.
    """

    key: str
    requests: int
    provider_calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    images: int
    seconds: float
    cost_usd: float | None
    unpriced_requests: int


class UsageReport(BaseModel):
    """A report.

    Attributes:
        first: Its first day.
        last: Its last day.
        group_by: What a row is about.
        rows: The rows, by their keys.
        total: Their sum.
    """

    first: date
    last: date
    group_by: GroupBy
    rows: list[UsageRow]
    total: UsageRow


class UsageRecord(BaseModel):
    """One call of a provider.

    Attributes:
        id: Of the call.
        time: When it was made (UTC).
        request_id: The HTTP request that it was made for.
        principal: Whose call it is.
        spoken_for_by: Who named the principal.
        door: Where the request came in.
        tool: The tool that made it.
        provider: The provider.
        model: The model that answered, or that was asked.
        input_tokens: Input tokens that the provider reported.
        cached_tokens: Those of them that were cached.
        output_tokens: Output tokens that the provider reported.
        reasoning_tokens: Output tokens for reasoning.
        images: Images made.
        seconds: Seconds of audio or video.
        cost_usd: US dollars; null where nobody knows.
        is_estimate: Whether that is an estimate.
        status: ``ok``, the code of the error, ``cancelled``, ``in_progress``, or ``unsettled`` where the
            instance died that made the call.
        attempts: Requests sent to the provider.
        duration_ms: How long it took.
    """

    id: str
    time: str
    request_id: str | None
    principal: str
    spoken_for_by: str | None
    door: str
    tool: str | None
    provider: str
    model: str
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    images: int | None
    seconds: float | None
    cost_usd: float | None
    is_estimate: bool
    status: str
    attempts: int | None
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class RecordPage:
    """A part of all records, newest first.

    Attributes:
        records: The records.
        cursor: Where the next part begins; None at the end.
    """

    records: Sequence[UsageRecord]
    cursor: str | None


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
            rows=[_shown(key, groups[key]) for key in sorted(groups)],
            total=_shown("total", total.get("total") or Row(door="", tool=None, model="")),
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
            [_record(names, owner, call, now) for owner, call in shown],
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


def _shown(key: str, row: Row) -> UsageRow:
    is_unknown = row.provider_calls and not row.priced_calls
    return UsageRow(
        key=key,
        requests=row.requests,
        provider_calls=row.provider_calls,
        input_tokens=row.input_tokens,
        cached_tokens=row.cached_tokens,
        output_tokens=row.output_tokens,
        images=row.images,
        seconds=round(row.seconds, 3),
        cost_usd=None if is_unknown else round(row.usd, USD_PLACES),
        unpriced_requests=row.unpriced_requests,
    )


def _record(names: Mapping[str, str], owner: str, call: Call, now: float) -> UsageRecord:
    reserved, settled = call
    return UsageRecord(
        id=reserved.id,
        time=iso_utc(datetime.fromtimestamp(reserved.at, UTC)),
        request_id=reserved.request_id,
        principal=names[owner],
        spoken_for_by=names[reserved.speaker] if reserved.speaker else None,
        door=reserved.door,
        tool=reserved.tool,
        provider=reserved.provider,
        model=call.model,
        input_tokens=settled.input_tokens if settled else None,
        cached_tokens=settled.cached_tokens if settled else None,
        output_tokens=settled.output_tokens if settled else None,
        reasoning_tokens=settled.reasoning_tokens if settled else None,
        images=settled.images if settled else reserved.images,
        seconds=settled.seconds if settled else reserved.seconds,
        cost_usd=call.usd,
        is_estimate=settled.is_estimate if settled else True,
        status=call.status(now),
        attempts=settled.attempts if settled else None,
        duration_ms=settled.ms if settled else None,
    )


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
