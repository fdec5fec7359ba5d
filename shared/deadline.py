"""One time budget per request, passed down to every await of the outside world."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

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

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Cancels the block when the deadline is over.

        Raises:
            DeadlineExceeded: The block did not end in time.
        """
        try:
            async with asyncio.timeout(self.remaining()) as scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise self.exceeded() from error

    async def wait_for(self, awaitable: Awaitable[T]) -> T:
        """Awaits under the deadline.

        Raises:
            DeadlineExceeded: The awaitable did not end in time.
        """
        async with self.limit():
            return await awaitable

    def exceeded(self) -> DeadlineExceeded:
        """Returns the error that says so."""
        return DeadlineExceeded(
            f"The request did not finish within its {self.budget:g} seconds. "
            "Ask for less, or raise REQUEST_DEADLINE_SECONDS."
        )
