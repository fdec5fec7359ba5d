"""Whether a call fits into the limits of its principal, and what is left of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

from shared.errors import BudgetSpent, LimitReached, RequestLimitReached
from shared.settings import Limits
from shared.usage.totals import MINUTE, Totals

RETRY_PARALLEL_SECONDS = 1.0
"""After how long to try again where all slots are taken: nobody knows when one is free."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of one limit is used.

    Attributes:
        limit: Its name.
        allowed: How much it allows.
        used: How much is used, with what is reserved.
        resets_at: When all of it is free again if nothing more is used; None where nobody knows.
        frees_at: When there is room for one more request, where that is earlier.
    """

    limit: str
    allowed: float
    used: float
    resets_at: datetime | None
    frees_at: datetime | None = None

    @property
    def remaining(self) -> float:
        """What is left of it, never less than zero."""
        return max(0.0, self.allowed - self.used)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a call asks for, or several together.

    Attributes:
        requests: 1 for the first call of a provider in a call at a door, else 0.
        tokens: Estimated tokens.
        usd: Estimated US dollars.
    """

    requests: int = 0
    tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: "Demand") -> "Demand":
        """Returns both together."""
        return Demand(
            self.requests + other.requests, self.tokens + other.tokens, self.usd + other.usd
        )


@dataclass(frozen=True, slots=True)
class MonthBefore:
    """What the earlier days of the month add up to.

    Attributes:
        tokens: Tokens.
        usd: US dollars.
    """

    tokens: int = 0
    usd: float = 0.0


def check(found: Sequence[Standing], taken: Demand, demand: Demand, now: datetime) -> None:
    """Checks that a call fits into what is left.

    Args:
        found: The standings of all limits.
        taken: What is let through together with this call.
        demand: What it asks for.
        now: The time.

    Raises:
        LimitReached: It does not fit.
    """
    for standing in found:
        wanted = _amount(standing.limit, demand)
        if wanted and standing.used + _amount(standing.limit, taken) + wanted > standing.allowed:
            raise _refusal(standing, wanted, now)


def standings(limits: Limits, totals: Totals, before: MonthBefore, now: datetime) -> list[Standing]:
    """Returns how much of each limit is used."""
    seconds = now.timestamp()
    day, month = _next_day(now), _next_month(now)
    found: list[Standing] = []

    def add(limit: str, used: float, resets_at: datetime | None) -> None:
        allowed = getattr(limits, limit)
        if allowed is not None:
            found.append(Standing(limit, allowed, used, resets_at))

    if limits.requests_per_minute is not None:
        found.append(
            _minute(limits.requests_per_minute, totals.requests_since(seconds - MINUTE), now)
        )
    if limits.parallel is not None:
        add("parallel", len(totals.slots(seconds)), None)
    sums = totals.sums
    add("requests_per_day", sums.requests, day)
    add("tokens_per_day", sums.tokens, day)
    add("tokens_per_month", before.tokens + sums.tokens, month)
    add("usd_per_day", round(sums.usd, 10), day)
    add("usd_per_month", round(before.usd + sums.usd, 10), month)
    return found


def _minute(allowed: int, recent: Sequence[float], now: datetime) -> Standing:
    last = recent[-1] + MINUTE if recent else now.timestamp()
    # So many of them have to be over a minute old before there is room for one.
    excess = len(recent) - allowed
    frees = recent[excess] + MINUTE if 0 <= excess < len(recent) else last
    moments = [datetime.fromtimestamp(seconds, UTC) for seconds in (last, frees)]
    return Standing("requests_per_minute", allowed, len(recent), *moments)


def _amount(limit: str, demand: Demand) -> float:
    if limit.startswith("tokens"):
        return demand.tokens
    if limit.startswith("usd"):
        return demand.usd
    return demand.requests


def _refusal(standing: Standing, wanted: float, now: datetime) -> LimitReached:
    name, allowed = standing.limit, standing.allowed
    if name == "parallel":
        return RequestLimitReached(
            f"The limit parallel of {allowed:g} requests at a time is reached. "
            "Wait for one of them to end.",
            RETRY_PARALLEL_SECONDS,
        )
    if name == "requests_per_minute" and standing.frees_at is not None:
        return RequestLimitReached(
            f"The limit requests_per_minute of {allowed:g} is reached. Send fewer requests.",
            max(1.0, (standing.frees_at - now).total_seconds()),
        )
    left = standing.resets_at - now if standing.resets_at else timedelta()
    period = "day" if name.endswith("day") else "month"
    unit = name.partition("_")[0]
    if unit == "requests":
        sentence = f"The limit {name} of {allowed:g} is reached."
    else:
        amount = f"${wanted:.6g}" if unit == "usd" else f"{wanted:g} tokens"
        sentence = (
            f"The limit {name} of {allowed:g} has {standing.remaining:.6g} left, and this call is "
            f"estimated at {amount}. Ask for less output (of a picture, name a size and a lower "
            "quality), or raise the limit."
        )
    return BudgetSpent(
        f"{sentence} It is free again when the {period} ends (UTC).", left.total_seconds()
    )


def headers_of(found: Sequence[Standing], now: datetime) -> dict[str, str]:
    """Returns OpenAI's six headers, of the limits of requests and of tokens with the least left.

    Source: https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers

    Args:
        found: The standings of all limits that apply.
        now: The time.
    """
    headers: dict[str, str] = {}
    for unit in ("requests", "tokens"):
        ours = [standing for standing in found if standing.limit.startswith(unit)]
        if ours:
            least = min(ours, key=lambda standing: standing.remaining)
            resets_at = least.resets_at or now
            headers[f"x-ratelimit-limit-{unit}"] = f"{least.allowed:.0f}"
            headers[f"x-ratelimit-remaining-{unit}"] = f"{least.remaining:.0f}"
            headers[f"x-ratelimit-reset-{unit}"] = format_duration(resets_at - now)
    return headers


def format_duration(duration: timedelta) -> str:
    """Returns a duration as OpenAI's headers write it, such as ``6m0s``, ``1s`` and ``20ms``."""
    milliseconds = max(0, ceil(duration.total_seconds() * 1000))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, seconds = divmod(ceil(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _next_day(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def _next_month(now: datetime) -> datetime:
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)
