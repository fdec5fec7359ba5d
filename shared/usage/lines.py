"""The lines of the ledger: what one append to a log holds.

A log is a principal's for one UTC day. Each append is one line, a `Batch` of entries, which also tells
what all entries up to its end add up to: whoever opens the log need not read it from its beginning.
"""

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

logger = logging.getLogger(__name__)

Door = Literal["tools", "mcp", "chat", "openai"]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True)


class Reserved(_Line):
    """A call of a provider that was let through.

    Attributes:
        id: Of the call.
        at: When, in seconds since 1970.
        call: The call at a door that it is a part of.
        is_request: Whether it is the first of that call, which then counts as a request.
        until: When its slot of ``parallel`` ends at the latest.
        request_id: Of the HTTP request.
        door: Where it came in.
        tool: The tool that made it.
        speaker: Who spoke for the principal, as in names of stored things.
        is_shadow: Whether it is another principal's call, which counts against the limits of this one,
            who spoke for it.
        provider: The provider.
        model: The model or deployment that was asked.
        tokens: Estimated input and output tokens.
        usd: Estimated US dollars; None where nobody knows.
        images: Images that were asked for.
        seconds: Seconds of audio or video, estimated.
    """

    t: Literal["reserved"] = "reserved"
    id: str
    at: float
    call: str
    is_request: bool
    until: float
    request_id: str | None = None
    door: str
    tool: str | None = None
    speaker: str | None = None
    is_shadow: bool = False
    provider: str
    model: str
    tokens: int = 0
    usd: float | None = None
    images: int | None = None
    seconds: float | None = None


class Settled(_Line):
    """How a call of a provider ended. A later line for the same call corrects an earlier one.

    Attributes:
        id: Of the call.
        at: When, in seconds since 1970.
        tokens_before: Tokens that counted until now.
        usd_before: US dollars that counted until now.
        tokens: Tokens that count from now on.
        usd: US dollars; None where nobody knows.
        is_estimate: Whether the estimate stands, because nobody knows what was used.
        was_reached: Whether the provider was reached; else neither the call nor its request counts.
        is_request: As in the reservation.
        call: As in the reservation.
        reserved_at: When it was reserved.
        model: The model that answered, or that was asked.
        input_tokens, cached_tokens, output_tokens, reasoning_tokens: As the provider counted.
        images: Images made.
        seconds: Seconds of audio or video.
        status: ``ok``, or the code of the error.
        attempts: Requests sent, with our retries.
        ms: How long it took, in milliseconds.
    """

    t: Literal["settled"] = "settled"
    id: str
    at: float
    tokens_before: int
    usd_before: float
    tokens: int
    # Left out of the line where nobody knows it, as all that is None.
    usd: float | None = None
    is_estimate: bool = False
    was_reached: bool = True
    is_request: bool
    call: str
    reserved_at: float
    model: str
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    images: int | None = None
    seconds: float | None = None
    status: str
    attempts: int = 1
    ms: int | None = None


class Released(_Line):
    """The end of a call at a door: its slot of ``parallel`` is free.

    Attributes:
        call: The call.
    """

    t: Literal["released"] = "released"
    call: str


Entry = Annotated[Reserved | Settled | Released, Field(discriminator="t")]


class Sums(_Line):
    """What a log adds up to.

    Attributes:
        requests: Requests.
        tokens: Input and output tokens, reserved or settled.
        usd: US dollars, reserved or settled, of calls whose price is known.
    """

    requests: int = 0
    tokens: int = 0
    usd: float = 0.0


class Batch(_Line):
    """One append.

    Attributes:
        v: Version of the format.
        n: Number of the append in its part of the log, from 1.
        sums: What the day adds up to with these entries.
        entries: What happened, in order.
    """

    v: Literal[1] = 1
    n: int
    sums: Sums
    entries: tuple[Entry, ...]


def encode(batch: Batch) -> bytes:
    """Returns the line of a batch."""
    return batch.model_dump_json(exclude_none=True).encode() + b"\n"


def decode(data: bytes) -> Iterator[Batch]:
    """Yields the batches of whole lines.

    A line that is no JSON was cut off when a machine failed: it was never answered for, and is left out.
    Another one that cannot be read is logged.
    """
    for line in data.split(b"\n"):
        if line:
            try:
                yield Batch.model_validate_json(line)
            except ValidationError as error:
                if error.errors(include_input=False)[0]["type"] != "json_invalid":
                    logger.error("A line of the ledger cannot be read: %s", _reason(error))


def _reason(error: ValidationError) -> str:
    found = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, found['loc']))}: {found['type']}"


def key_of(entry: Entry) -> tuple[str, str, float]:
    """Returns what tells an entry from all others of its log."""
    if isinstance(entry, Released):
        return (entry.t, entry.call, 0.0)
    return (entry.t, entry.id, entry.at)


def added(sums: Sums, entries: Iterable[Entry]) -> Sums:
    """Returns what a day adds up to after further entries."""
    requests, tokens, usd = sums.requests, sums.tokens, sums.usd
    for entry in entries:
        if isinstance(entry, Reserved):
            requests += entry.is_request
            tokens += entry.tokens
            usd += entry.usd or 0.0
        elif isinstance(entry, Settled):
            requests -= entry.is_request and not entry.was_reached
            tokens += entry.tokens - entry.tokens_before
            usd += (entry.usd or 0.0) - entry.usd_before
    return Sums(requests=requests, tokens=tokens, usd=round(usd, 12))


def void(entry: Reserved, now: datetime) -> Settled:
    """Returns the line that takes back a reservation whose provider was not asked."""
    return Settled(
        id=entry.id,
        at=now.timestamp(),
        tokens_before=entry.tokens,
        usd_before=entry.usd or 0.0,
        tokens=0,
        usd=0.0,
        was_reached=False,
        is_request=entry.is_request,
        call=entry.call,
        reserved_at=entry.at,
        model=entry.model,
        status="not_sent",
        attempts=0,
    )
