"""What the HTTP answers of a server may cost before the MCP SDK reads them, and what became of them.

The SDK parses and validates on the event loop, so a server must not be able to make that long: the
number of values in an answer is limited, and how fast the events of a stream are passed on.
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from shared.connections.errors import ServerAnswerTooLarge

MAX_VALUES = 20_000
"""Maximum values in the JSON of an answer, by which the cost of parsing it goes."""

MAX_EVENT_LINES = 1000
EVENTS_AT_ONCE, EVENTS_PER_SECOND = 500, 100.0
BYTES_AT_ONCE, BYTES_PER_SECOND = 16 * 1024 * 1024, 4.0 * 1024 * 1024
MAX_DROPPED_EVENTS = 20_000
"""Maximum superfluous events of a stream; after them it ends."""

MAX_NOTIFICATION_BYTES = 64 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_SENT_ERRORS = 100
"""Maximum bytes of an error whose words are passed on, and maximum errors of a session known at once."""

_SLICE_BYTES = 256 * 1024
_GAP = re.compile(rb"\n{2,}")
_EVENTS_BETWEEN_YIELDS = 100


async def check_values(body: bytes, limit: int = MAX_VALUES) -> None:
    """Makes sure that a JSON text does not hold too many values, and lets others work meanwhile.

    Raises:
        ServerAnswerTooLarge: It does.
    """
    # Text holds commas and brackets as well: what stands in strings counts only at first sight.
    if await _count_all(body) > limit and not await _is_outside_within(body, limit):
        raise ServerAnswerTooLarge(f"The server's answer holds more than {limit} values.")


async def _count_all(body: bytes) -> int:
    count = 0
    for index, piece in enumerate(_slices(body)):
        if index:
            await asyncio.sleep(0)
        count += _at_most(piece)
    return count


async def _is_outside_within(body: bytes, limit: int) -> bool:
    """Returns whether what stands outside of strings has at most so many values."""
    values = quotes = 0
    rest = b""
    for index, piece in enumerate(_slices(body)):
        if index:
            await asyncio.sleep(0)
        piece = rest + piece
        # A backslash belongs to what follows it, which may be in the next slice.
        is_open = (len(piece) - len(piece.rstrip(b"\\"))) % 2
        rest = piece[len(piece) - is_open :]
        piece = piece[: len(piece) - is_open].replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        values += _at_most(b"".join(parts[quotes % 2 :: 2]))
        quotes += len(parts) - 1
        if quotes > 4 * limit or values > limit:
            return False
    return True


def _slices(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), _SLICE_BYTES):
        yield body[start : start + _SLICE_BYTES]


def _at_most(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


@dataclass(slots=True)
class HttpTrace:
    """What became of the HTTP requests of one operation, which the MCP SDK keeps to itself.

    The SDK sends from tasks of its own: an exception there ends the whole session, and of a status from
    400 on nothing but "an error response" is left. But it sends in the context of whoever called it, so
    the transport can note here what happened.

    Attributes:
        failed: Has the error that kept a request from being answered, once there is one.
        status: Status of the last answer.
        received: Bytes of all answers.
        pages: What is left of pages of lists that are read in portions, by the cursor for it.
    """

    failed: "asyncio.Future[Exception]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    status: int | None = None
    received: int = 0
    pages: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def failure(self) -> Exception | None:
        """The error that came first; None while there is none."""
        return self.failed.result() if self.failed.done() else None

    def fail(self, error: Exception) -> None:
        """Notes an error, unless there is one already."""
        if not self.failed.done():
            self.failed.set_result(error)


current_trace: ContextVar[HttpTrace | None] = ContextVar("current_trace", default=None)


class SentErrors:
    """Tells errors that a server sent from those that the MCP SDK made.

    The SDK raises the same class where it finds no readable answer.
    """

    def __init__(self) -> None:
        self._messages: deque[str] = deque(maxlen=MAX_SENT_ERRORS)

    def note(self, body: bytes) -> None:
        """Notes the message of an answer that is an error of JSON-RPC, unless it is very long."""
        if len(body) > MAX_ERROR_BYTES or b'"error"' not in body:
            return
        try:
            message = json.loads(body)["error"]["message"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return
        if isinstance(message, str):
            self._messages.append(message)

    def note_event(self, event: bytes) -> None:
        """Notes the same of an event of a stream."""
        if b'"error"' in event:
            lines = (line for line in event.split(b"\n") if line.startswith(b"data:"))
            self.note(b"\n".join(line.removeprefix(b"data:") for line in lines))

    def has(self, message: str) -> bool:
        """Returns whether the server sent an error with this message."""
        return message in self._messages


class Rate:
    """A token bucket: so many at once, and so many a second in the long run.

    Args:
        burst: Maximum events at once.
        per_second: Events that are added each second.
    """

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._left = burst
        self._filled_at = monotonic()

    def take(self, amount: float = 1) -> bool:
        """Takes from what is left; False, and nothing is taken, where that is too little."""
        self._fill()
        if self._left < amount:
            return False
        self._left -= amount
        return True

    async def wait(self, amount: float = 1) -> None:
        """Takes at once, and waits until what is missing has come back."""
        self._fill()
        self._left -= amount
        if self._left < 0:
            await asyncio.sleep(-self._left / self._per_second)

    def _fill(self) -> None:
        moment = monotonic()
        filled = self._left + (moment - self._filled_at) * self._per_second
        self._left, self._filled_at = min(self._burst, filled), moment


class EventFilter:
    """Cuts a stream into events that are cheap to read, one at a time.

    Events without data are left out, and so are those that come faster than anybody needs them, unless
    they may be the answer to a request.

    Args:
        max_event_bytes: Maximum bytes of an event.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._events = Rate(EVENTS_AT_ONCE, EVENTS_PER_SECOND)
        self._bytes = Rate(BYTES_AT_ONCE, BYTES_PER_SECOND)
        self._dropped = 0

    async def events(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yields each event with the blank line that ends it.

        Raises:
            ServerAnswerTooLarge: An event is too long, or there are too many that say nothing.
        """
        pending, ended_with_cr = bytearray(), False
        async for chunk in chunks:
            if ended_with_cr and chunk.startswith(b"\n"):
                chunk = chunk[1:]
            ended_with_cr = chunk.endswith(b"\r") or (ended_with_cr and not chunk)
            searched = max(len(pending) - 1, 0)
            pending += chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            start = 0
            for end, next_start in [gap.span() for gap in _GAP.finditer(pending, searched)]:
                event = bytes(pending[start:end]).lstrip(b"\n")
                start = next_start
                if await self._is_wanted(event):
                    yield event + b"\n\n"
            del pending[:start]
            self._check_size(len(pending))

    async def _is_wanted(self, event: bytes) -> bool:
        self._check_size(len(event))
        if event.count(b"\n") > MAX_EVENT_LINES:
            raise ServerAnswerTooLarge(
                f"The server's answer has more than {MAX_EVENT_LINES} lines."
            )
        if b'"result"' in event or b'"error"' in event:
            await check_values(event)
            await self._events.wait()
            await self._bytes.wait(len(event))
            return True
        is_comment = event.startswith(b":") and b"\n" not in event
        if (
            event
            and not is_comment
            and len(event) <= MAX_NOTIFICATION_BYTES
            and self._events.take()
        ):
            return True
        self._dropped += 1
        if self._dropped > MAX_DROPPED_EVENTS:
            raise ServerAnswerTooLarge("The server sends too many events that are no answers.")
        if self._dropped % _EVENTS_BETWEEN_YIELDS == 0:
            await asyncio.sleep(0)
        return False

    def _check_size(self, size: int) -> None:
        if size > self._max_event_bytes:
            limit = self._max_event_bytes
            raise ServerAnswerTooLarge(f"The server's answer is larger than {limit} bytes.")
