"""What calls add up to, by what reports group them by."""

from collections.abc import AsyncIterable, Iterable
from typing import NamedTuple

from pydantic import BaseModel

from shared.usage.lines import Batch, Reserved, Settled, Sums

UNSETTLED = "unsettled"
"""Status of a call whose instance died: it stays at its estimate."""

IN_PROGRESS = "in_progress"


class Call(NamedTuple):
    """One call of a provider: its reservation, and how it ended as far as that is known."""

    reserved: Reserved
    settled: Settled | None

    @property
    def was_reached(self) -> bool:
        """Whether it counts as a call of a provider."""
        return self.settled is None or self.settled.was_reached

    @property
    def model(self) -> str:
        """The model that answered, or that was asked."""
        return self.settled.model if self.settled else self.reserved.model

    @property
    def usd(self) -> float | None:
        """US dollars, estimated where it is not settled; None where nobody knows."""
        return self.settled.usd if self.settled else self.reserved.usd

    def status(self, now: float) -> str:
        """Returns ``ok``, the code of an error, ``in_progress`` or ``unsettled``."""
        if self.settled is not None:
            return self.settled.status
        return UNSETTLED if self.reserved.until < now else IN_PROGRESS


async def calls_of(batches: AsyncIterable[Batch]) -> tuple[dict[str, Call], Sums]:
    """Returns the calls of a log by their ids, and what they add up to for limits."""
    calls: dict[str, Call] = {}
    sums = Sums()
    async for batch in batches:
        sums = batch.sums
        for entry in batch.entries:
            if isinstance(entry, Reserved):
                calls[entry.id] = Call(entry, None)
            elif isinstance(entry, Settled) and (known := calls.get(entry.id)):
                calls[entry.id] = Call(known.reserved, entry)
    return calls, sums


class Row(BaseModel):
    """What calls of one door, tool and model add up to.

    Attributes:
        door: Where they came in.
        tool: The tool that made them.
        model: The model.
        requests: Calls at doors that began with one of these.
        provider_calls: Calls of a provider.
        input_tokens: Input tokens reported.
        cached_tokens: Those of them that were cached.
        output_tokens: Output tokens reported.
        images: Images made.
        seconds: Seconds of audio and video.
        usd: US dollars of calls with a known price.
        priced_calls: Calls with a known price.
        unpriced_requests: Calls at doors that hold a call without one.
    """

    door: str
    tool: str | None
    model: str
    requests: int = 0
    provider_calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    images: int = 0
    seconds: float = 0.0
    usd: float = 0.0
    priced_calls: int = 0
    unpriced_requests: int = 0

    def add(self, other: "Row") -> None:
        """Adds up another row."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_COUNTS = tuple(name for name in Row.model_fields if name not in ("door", "tool", "model"))


def rows_of(calls: Iterable[Call]) -> list[Row]:
    """Returns the rows of the calls that a principal made itself."""
    rows: dict[tuple[str, str | None, str], Row] = {}
    unpriced: set[tuple[str, str]] = set()
    for call in calls:
        reserved, settled = call
        if reserved.is_shadow or not call.was_reached:
            continue
        key = (reserved.door, reserved.tool, call.model)
        row = rows.get(key)
        if row is None:
            row = rows[key] = Row(door=reserved.door, tool=reserved.tool, model=call.model)
        row.requests += reserved.is_request
        row.provider_calls += 1
        if settled is not None:
            row.input_tokens += settled.input_tokens or 0
            row.cached_tokens += settled.cached_tokens or 0
            row.output_tokens += settled.output_tokens or 0
            row.images += settled.images or 0
            row.seconds += settled.seconds or 0.0
        if call.usd is not None:
            row.usd += call.usd
            row.priced_calls += 1
        elif (reserved.call, call.model) not in unpriced:
            unpriced.add((reserved.call, call.model))
            row.unpriced_requests += 1
    return list(rows.values())
