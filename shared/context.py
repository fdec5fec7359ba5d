"""The context of a call: principal, deadline, progress, idempotency key, and its scope."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import TracebackType
from typing import Literal, get_args

from shared.auth import Principal
from shared.deadline import Deadline
from shared.errors import Conflict
from shared.model_access import limit_models, unlimit_models
from shared.storage import Operation

Door = Literal["tools", "mcp", "chat", "openai"]
"""Where calls come in that ask a provider for something."""

DOORS: tuple[Door, ...] = get_args(Door)

ReportProgress = Callable[[float, float | None, str | None], Awaitable[None]]
"""Takes the progress, the total where it is known, and a message."""


async def discard_progress(progress: float, total: float | None, message: str | None) -> None:
    """Discards progress, for callers who get nothing before the result."""


COST_HEADER = "x-cost-usd"
USAGE_HEADERS = (
    COST_HEADER,
    *(
        f"x-ratelimit-{kind}-{unit}"
        for kind in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens")
    ),
)
"""Headers by which a caller learns what a call cost and what is left of its limits."""


USD_PLACES = 10
"""Decimal places of US dollars: a cached token costs a hundred-millionth and more."""


def format_usd(usd: float) -> str:
    """Returns US dollars as a plain decimal number."""
    return f"{usd:.{USD_PLACES}f}".rstrip("0").rstrip(".")


class CallUsage:
    """What one call at a door has used so far, with all its parts.

    Attributes:
        is_counted: Whether it counts as a request already.
        provider_calls: Calls of providers that were let through.
        cost: US dollars of those that have ended; None where one has no known price.
        headers: Headers that tell the caller what is left of its limits.
        admitted: Set when the first call of a provider was let through.
    """

    def __init__(self) -> None:
        self.is_counted = False
        self.provider_calls = 0
        self.cost: float | None = 0.0
        self.headers: dict[str, str] = {}
        self.admitted = asyncio.Event()
        self._open_calls = 0
        self._open_scopes = 0
        self._is_stopped = False
        self._at_end: list[Callable[[], None]] = []

    @cached_property
    def id(self) -> str:
        """The id of the call: made when it is asked for, as most calls use no provider."""
        return secrets.token_hex(8)

    @property
    def is_settled(self) -> bool:
        """Whether all calls of providers have ended."""
        return not self._open_calls

    def stop(self) -> None:
        """Lets no further call of a provider through; what was ordered before goes on."""
        self._is_stopped = True

    def check_running(self) -> None:
        """Checks that calls of providers may begin.

        Raises:
            Conflict: `stop` was called.
        """
        if self._is_stopped:
            raise Conflict("The call was cancelled before the provider was asked.")

    def begin_call(self) -> None:
        """Notes that a call of a provider was let through."""
        self.provider_calls += 1
        self._open_calls += 1
        self.admitted.set()

    def end_call(self, cost: float | None) -> None:
        """Notes that a call of a provider has ended.

        Args:
            cost: US dollars; None where nobody knows.
        """
        self._open_calls -= 1
        self.cost = None if cost is None or self.cost is None else self.cost + cost

    def answer_headers(self) -> dict[str, str]:
        """Returns what the answer's headers say: what is left of limits, and the cost where known."""
        # While a part goes on, as behind a stream, further calls may come.
        is_over = not self._open_scopes and not self._open_calls
        if not self.provider_calls or not is_over or self.cost is None:
            return self.headers
        return self.headers | {COST_HEADER: format_usd(self.cost)}

    def at_end(self, act: Callable[[], None]) -> None:
        """Has something done when the call ends."""
        self._at_end.append(act)

    @contextmanager
    def part(self) -> Iterator[None]:
        """Makes the block a part of the call, which ends with the last of them."""
        self.begin_part()
        try:
            yield
        finally:
            self.end_part()

    def begin_part(self) -> None:
        """Begins a part of the call."""
        self._open_scopes += 1

    def end_part(self) -> None:
        """Ends a part of the call, and with the last of them the call."""
        self._open_scopes -= 1
        if not self._open_scopes:
            acts, self._at_end = self._at_end, []
            for act in acts:
                act()


@dataclass(frozen=True, slots=True)
class CallContext:
    """The context of one call; it knows nothing of HTTP, MCP or the agent.

    Attributes:
        principal: The principal who calls.
        deadline: The moment at which the call is cancelled.
        report_progress: Reports progress to the caller.
        idempotency_key: The caller's Idempotency-Key: a repeat returns the first result, unpaid.
        operation: Gives ids to what the call stores.
        door: Where the call came in; None where nobody called, as in housekeeping.
        tool: The tool that runs; None outside of tools.
        connections: Names or ids of the connections that the caller narrowed the call to; None for all.
        content: The kinds of content that the caller takes in results; None for all.
        usage: What the call has used so far.
        kept_media: The bytes of pictures that the call has stored, by media id, where it keeps them.
        keeps_media: Whether the door shows pictures: what it has need not be read from storage.
    """

    principal: Principal
    deadline: Deadline
    report_progress: ReportProgress = discard_progress
    idempotency_key: str | None = None
    operation: Operation = field(default_factory=Operation.begin)
    door: Door | None = None
    tool: str | None = None
    connections: Sequence[str] | Literal["none"] | None = None
    content: frozenset[str] | None = None
    usage: CallUsage = field(default_factory=CallUsage, compare=False, repr=False)
    kept_media: dict[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    keeps_media: bool = False

    def keep_media(self, media_id: str, data: bytes) -> None:
        """Keeps the bytes of a picture that was stored, for doors that show pictures."""
        if self.keeps_media:
            self.kept_media[media_id] = data

    def scope(self) -> AbstractAsyncContextManager[None]:
        """Cancels the block when the deadline is over.

        Whoever lets a call in opens it: the HTTP route, the MCP handler, the agent for a tool call, and
        the task of a detached call. What runs in it takes no deadline.

        Raises:
            DeadlineExceeded: On leaving the block, because it did not end in time.
        """
        return _CallScope(self)

    @contextmanager
    def detached(self) -> Iterator["CallContext"]:
        """Returns the context of the same call in a task that goes on without its caller.

        Progress reaches the caller only while the block runs, and that it cannot be delivered does not
        end the call.
        """
        is_waiting = True

        async def report(progress: float, total: float | None, message: str | None) -> None:
            if is_waiting:
                with suppress(Exception):
                    await self.report_progress(progress, total, message)

        try:
            yield replace(self, report_progress=report)
        finally:
            is_waiting = False


class _CallScope(AbstractAsyncContextManager[None]):
    """The scope of a call; a class, because every request opens several."""

    def __init__(self, call: CallContext) -> None:
        self._call = call
        self._limit = call.deadline.scope()

    async def __aenter__(self) -> None:
        self._outer_call = _current.set(self._call)
        self._outer_models = limit_models(self._call.principal.models)
        self._call.usage.begin_part()
        await self._limit.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._limit.__aexit__(kind, error, traceback)
        finally:
            unlimit_models(self._outer_models)
            _current.reset(self._outer_call)
            self._call.usage.end_part()


_current: ContextVar[CallContext | None] = ContextVar("call", default=None)


def current_call() -> CallContext | None:
    """Returns the context of the innermost scope that this task runs in, None outside of any."""
    return _current.get()
