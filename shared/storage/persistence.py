"""Repeating what storage failed to do: how often, after which pauses, and until when."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.deadline import Deadline
from shared.errors import StorageUnavailable

T = TypeVar("T")

ATTEMPTS = 5
"""Maximum attempts without a deadline; they take about two seconds."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
MAX_RETRY_AFTER_SECONDS = 10.0
"""The longest ``Retry-After`` that is waited for without a deadline."""

ANSWER_SECONDS = 1.0
"""Left of a deadline for saying that storage failed."""


def pause_seconds(failures: int, retry_after: float | None = None) -> float:
    """Returns how long to wait after some failures: longer each time, at random, as long as asked to.

    Args:
        failures: How many there have been, 1 or more.
        retry_after: Seconds that storage asks to wait.
    """
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures, 16))
    return max(retry_after or 0.0, random.uniform(longest / 2, longest))  # noqa: S311  # Not secret.


class Backoff:
    """The pauses between attempts at one operation.

    Args:
        deadline: Attempts go on until it is near; None for a few of them.
        attempts: Most attempts where there is no deadline.
    """

    def __init__(self, deadline: Deadline | None = None, attempts: int = ATTEMPTS) -> None:
        self._deadline = deadline
        self._attempts = attempts
        self._failures = 0

    async def wait(self, error: StorageUnavailable) -> None:
        """Waits before the next attempt.

        Args:
            error: How the last one failed.

        Raises:
            StorageUnavailable: That error, where there is to be no further attempt.
        """
        self._failures += 1
        pause = pause_seconds(self._failures, error.retry_after)
        if not error.is_transient or not self._has_room(pause):
            raise error
        await asyncio.sleep(pause)

    def _has_room(self, pause: float) -> bool:
        if self._deadline is not None:
            return self._deadline.remaining() > pause + ANSWER_SECONDS
        return self._failures < self._attempts and pause <= MAX_RETRY_AFTER_SECONDS


async def persist(
    operation: Callable[[], Awaitable[T]],
    deadline: Deadline | None = None,
    attempts: int = ATTEMPTS,
) -> T:
    """Does something that is safe to repeat, again where storage failed.

    Args:
        operation: Makes one attempt.
        deadline: Attempts go on until it is near; None for a few of them.
        attempts: Most attempts where there is no deadline.

    Raises:
        StorageUnavailable: Every attempt failed.
        ObjectConflict: Its condition does not hold; perhaps an earlier attempt was done after all.
    """
    backoff = Backoff(deadline, attempts)
    while True:
        try:
            return await operation()
        except StorageUnavailable as error:
            await backoff.wait(error)
