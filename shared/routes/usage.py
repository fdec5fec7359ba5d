"""`GET /usage` and `GET /usage/records`: what principals used, as JSON or CSV."""

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from shared.auth import Guard, Principal
from shared.errors import InsufficientScope, InvalidRequest
from shared.routes.errors import Cursor, cursor_errors
from shared.routes.guarded_route import Context, guarded
from shared.usage import GroupBy, Reports, UsageQuery, UsageRecord, UsageRow

MAX_DAYS = 366
"""Maximum days of one report."""

ADMIN = "admin"


class UsageAnswer(BaseModel):
    """Answer of `GET /usage`."""

    first: date = Field(serialization_alias="from", description="First day, in UTC.")
    last: date = Field(serialization_alias="to", description="Last day, which is included.")
    group_by: GroupBy
    rows: list[UsageRow]
    total: UsageRow


class UsageRecordList(BaseModel):
    """Answer of `GET /usage/records`."""

    records: list[UsageRecord]
    cursor: str | None = Field(description="Gives the next page; null at the end.")


First = Annotated[
    date | None,
    Query(alias="from", description="First day (UTC); the first of the month when left out."),
]
Last = Annotated[
    date | None, Query(alias="to", description="Last day (UTC), included; today when left out.")
]
PrincipalName = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=128,
        description="Whose usage; with 'admin' everybody's when left out, else the caller's own.",
    ),
]
Form = Annotated[
    Literal["json", "csv"], Query(alias="format", description="'csv' for a file of the rows.")
]


def usage_router(reports: Reports, guard: Guard) -> APIRouter:
    """Returns the routes of usage: one's own with any key, everybody's with the scope ``admin``."""
    router = APIRouter(tags=["usage"], route_class=guarded(guard, None))

    @router.get(
        "/usage",
        name="usage_get",
        summary="Report usage",
        response_model=UsageAnswer,
        responses=_CSV,
    )
    async def get(
        context: Context,
        first: First = None,
        last: Last = None,
        group_by: Annotated[GroupBy, Query(description="What a row is about.")] = "day",
        principal: PrincipalName = None,
        form: Form = "json",
    ) -> object:
        """Returns what calls of providers used and cost, both days included.

        Requests are calls at doors of this API, and provider calls what these asked of providers. A
        cost is null where nobody knows the price.
        """
        days = _days(first, last)
        whose = _whose(context.principal, principal)
        report = await reports.usage(UsageQuery(*days, group_by, whose))
        if form == "csv":
            rows = [{group_by: row.key, **row.model_dump(exclude={"key"})} for row in report.rows]
            columns = [group_by, *(name for name in UsageRow.model_fields if name != "key")]
            return _csv(columns, rows, f"usage-{days[0]}-{days[1]}.csv")
        return UsageAnswer(
            first=report.first,
            last=report.last,
            group_by=report.group_by,
            rows=report.rows,
            total=report.total,
        )

    @router.get(
        "/usage/records",
        name="usage_records",
        summary="List calls of providers",
        response_model=UsageRecordList,
        responses=_CSV,
    )
    async def records(
        context: Context,
        limit: Annotated[int, Query(ge=1, le=1000, description="Most to return.")] = 100,
        cursor: Cursor | None = None,
        first: First = None,
        last: Last = None,
        principal: PrincipalName = None,
        form: Form = "json",
    ) -> object:
        """Lists single calls of providers, newest first."""
        days = _days(first, last)
        whose = _whose(context.principal, principal)
        with cursor_errors():
            page = await reports.records(whose, limit, cursor, *days)
        if form == "csv":
            rows = [record.model_dump() for record in page.records]
            return _csv([*UsageRecord.model_fields], rows, "usage-records.csv")
        return UsageRecordList(records=list(page.records), cursor=page.cursor)

    return router


_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {}}}}


def _days(first: date | None, last: date | None) -> tuple[date, date]:
    today = datetime.now(UTC).date()
    last = last or max(today, first or today)
    first = first or last.replace(day=1)
    if first > last:
        raise InvalidRequest.for_field("from", "Give a day that is not after 'to'", "query")
    if (last - first).days >= MAX_DAYS:
        raise InvalidRequest.for_field("from", f"Ask for at most {MAX_DAYS} days", "query")
    return first, last


def _whose(caller: Principal, asked: str | None) -> str | None:
    """Returns whose usage the caller is told of; None for everybody's.

    Raises:
        InsufficientScope: It is somebody else's, and the caller lacks ``admin``.
    """
    is_admin = ADMIN in caller.scopes and caller.spoken_for_by is None
    if asked is not None and asked != caller.name and not is_admin:
        raise InsufficientScope(
            "Somebody else's usage needs a key with the scope 'admin'. Leave out 'principal' for "
            "your own.",
            ADMIN,
        )
    return asked if is_admin else caller.name


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]], name: str) -> Response:
    import csv

    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows([{key: _cell(value) for key, value in row.items()} for row in rows])
    return Response(
        text.getvalue(),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _cell(value: object) -> object:
    # Spreadsheets take text that begins so for a formula; models and request ids are callers' words.
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
