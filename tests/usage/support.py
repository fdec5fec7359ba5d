"""What tests of the ledger share."""

from datetime import UTC, datetime, timedelta
from itertools import count

from shared.usage.lines import Released, Reserved, Settled

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
_ids = count(1)


class Clock:
    """A clock that tests set."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def reserved(
    at: datetime = NOON, *, tokens: int = 0, usd: float | None = 0.0, is_request: bool = True
) -> Reserved:
    """Returns a reservation with an id of its own."""
    number = next(_ids)
    return Reserved(
        id=f"{number:032x}",
        at=at.timestamp(),
        call=f"{number:016x}",
        is_request=is_request,
        until=at.timestamp() + 230,
        door="tools",
        provider="openai",
        model="gpt-6-luna",
        tokens=tokens,
        usd=usd,
    )


def settled(entry: Reserved, *, tokens: int = 0, usd: float = 0.0, reached: bool = True) -> Settled:
    """Returns the settlement of a reservation."""
    return Settled(
        id=entry.id,
        at=entry.at + 1,
        tokens_before=entry.tokens,
        usd_before=entry.usd or 0.0,
        tokens=tokens,
        usd=usd,
        was_reached=reached,
        is_request=entry.is_request,
        call=entry.call,
        reserved_at=entry.at,
        model=entry.model,
        status="ok" if reached else "provider_unavailable",
        attempts=1,
    )


def released(entry: Reserved) -> Released:
    return Released(call=entry.call)
