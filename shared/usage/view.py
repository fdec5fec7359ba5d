"""What callers see of usage: rows of reports, and single calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from pydantic import BaseModel

from shared.context import USD_PLACES
from shared.storage.ids import iso_utc
from shared.usage.rows import Call, Row

GroupBy = Literal["day", "model", "door", "tool", "principal"]


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


def show_row(key: str, row: Row) -> UsageRow:
    """Returns what the calls of a key add up to."""
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


def show_record(names: Mapping[str, str], owner: str, call: Call, now: float) -> UsageRecord:
    """Returns a single call.

    Args:
        names: The names of all principals in it, by owner.
        owner: Whose it is.
        call: The call.
        now: The time, as a timestamp.
    """
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
