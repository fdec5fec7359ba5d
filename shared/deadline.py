"""One time budget for each call: a scope that is cancelled when it is over.

A scope is opened where a call comes in (`shared.context.CallContext.scope`). The code in it awaits
without a deadline of its own, asks for the `remaining_seconds` where it has to choose how long to wait,
and opens a `time_limit` for less than what is left. The budget travels in a context variable,
which tasks inherit from the task that starts them; only the task that opened the scope is cancelled.
"""

import asyncio
import math
from collections.abc import Awaitable, Coroutine
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar

from shared.errors import DeadlineExceeded

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment after which a request is answered with ``deadline_exceeded``.

    Attributes:
        at: The moment on the clock of `time.monotonic`, in seconds.
        budget: The seconds that there were at the start, for the message.
    """

    at: float
    budget: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Returns the deadline that lies ``seconds`` from now."""
        return cls(monotonic() + seconds, seconds)

    def within(self, seconds: float) -> "Deadline":
        """Returns the earlier of this deadline and ``seconds`` from now."""
        return min(self, Deadline.after(seconds), key=lambda deadline: deadline.at)

    def remaining(self) -> float:
        """Returns the seconds left, never less than zero."""
        return max(0.0, self.at - monotonic())

    def scope(self) -> AbstractAsyncContextManager[None]:
        """Makes this the deadline of the block, and cancels the block when it is over.

        Not for a block with the ``yield`` of an async generator: different tasks may read it.

        Raises:
            DeadlineExceeded: The block did not end in time.
        """
        return _Limit(self, is_scope=True)

    def limit(self) -> AbstractAsyncContextManager[None]:
        """Cancels the block when the deadline is over.

        Raises:
            DeadlineExceeded: The block did not end in time.
        """
        return _Limit(self, is_scope=False)

    async def wait_for(self, awaitable: Awaitable[T]) -> T:
        """Awaits under the deadline.

        Raises:
            DeadlineExceeded: The awaitable did not end in time.
        """
        async with self.limit():
            return await awaitable

    def exceeded(self) -> DeadlineExceeded:
        """Returns the error of this deadline."""
        return DeadlineExceeded(
            f"The request did not finish within its {self.budget:g} seconds. "
            "Ask for less, or raise REQUEST_DEADLINE_SECONDS."
        )


class _Limit(AbstractAsyncContextManager[None]):
    """A block that is cancelled when a deadline is over; every request opens several.

    Args:
        deadline: The deadline.
        is_scope: Whether it is the deadline of what the block calls, too.
    """

    def __init__(self, deadline: Deadline, *, is_scope: bool) -> None:
        self._deadline = deadline
        self._is_scope = is_scope

    async def __aenter__(self) -> None:
        if self._is_scope:
            self._token = _current.set(self._deadline)
        self._timeout = asyncio.timeout(self._deadline.remaining())
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_scope:
            _current.reset(self._token)
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError as late:
            raise self._deadline.exceeded() from late
        if isinstance(error, TimeoutError) and self._timeout.expired():
            raise self._deadline.exceeded() from error


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def remaining_seconds() -> float:
    """Returns the seconds that the innermost scope has left, never less than zero.

    Outside of any scope, as in detached tasks, it is infinite.
    """
    deadline = _current.get()
    return math.inf if deadline is None else deadline.remaining()


def check_deadline() -> None:
    """Ends a block that may never suspend, such as the reading of a fast stream.

    A scope cancels its block only where this waits for something.

    Raises:
        DeadlineExceeded: The innermost scope has no time left.
    """
    deadline = _current.get()
    if deadline is not None and not deadline.remaining():
        raise deadline.exceeded()


def time_limit(seconds: float) -> AbstractAsyncContextManager[None]:
    """Returns a scope of so many seconds, or of fewer where the one around it has fewer left.

    Its error can be that of the scope around it: ask outside of the block for the `remaining_seconds`.

    Raises:
        DeadlineExceeded: On leaving the block, because it did not end in time.
    """
    deadline = _current.get()
    return (Deadline.after(seconds) if deadline is None else deadline.within(seconds)).scope()


def create_detached_task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Starts work that goes on without its caller: it has no deadline until it opens a scope."""
    context = copy_context()
    context.run(_current.set, None)
    return asyncio.create_task(work, context=context)
