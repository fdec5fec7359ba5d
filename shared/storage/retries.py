"""Retries of what storage failed to do: how often, after which pauses, and until when."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TypeVar

from shared.deadline import remaining_seconds
from shared.errors import StorageUnavailable

T = TypeVar("T")

ATTEMPTS = 5
"""Maximum attempts outside of `keep_retrying`; they take about two seconds."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
MAX_RETRY_AFTER_SECONDS = 10.0
"""The longest ``Retry-After`` that is waited for outside of `keep_retrying`."""

ANSWER_SECONDS = 1.0
"""Seconds of a budget that are kept for answering that storage failed."""

_retry_until: ContextVar[float] = ContextVar("retry_until", default=-math.inf)


@contextmanager
def keep_retrying(seconds: float | None = None) -> Iterator[None]:
    """Has every storage operation of the block retried for longer than a few attempts.

    For what is paid for, or lost where it is not stored. It holds in the tasks that the block starts,
    too, and cancels nothing: an attempt that is under way goes on.

    Args:
        seconds: How long; None until the scope around the block is nearly over. Outside of a scope a few
            attempts are made all the same.
    """
    limit = remaining_seconds() if seconds is None else seconds
    token = _retry_until.set(-math.inf if math.isinf(limit) else monotonic() + limit)
    try:
        yield
    finally:
        _retry_until.reset(token)


def may_retry(failures: int, pause: float, attempts: int = ATTEMPTS) -> bool:
    """Returns whether a failed operation is to be attempted once more.

    Args:
        failures: Number of attempts that failed.
        pause: Seconds before the next attempt.
        attempts: Maximum attempts outside of `keep_retrying`.
    """
    seconds = pause + ANSWER_SECONDS
    until = _retry_until.get()
    if until > -math.inf:
        return until - monotonic() > seconds
    is_in_time = pause <= MAX_RETRY_AFTER_SECONDS and remaining_seconds() > seconds
    return is_in_time and failures < attempts


def pause_seconds(failures: int, retry_after: float | None = None) -> float:
    """Returns the pause after some failures: longer each time, at random, as long as asked to.

    Args:
        failures: Number of attempts that failed, 1 or more.
        retry_after: Seconds that storage asks to wait.
    """
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures, 16))
    return max(retry_after or 0.0, random.uniform(longest / 2, longest))  # noqa: S311  # Not secret.


class Backoff:
    """The pauses between attempts at one operation.

    Args:
        attempts: Maximum attempts outside of `keep_retrying`.
    """

    def __init__(self, attempts: int = ATTEMPTS) -> None:
        self._attempts = attempts
        self._failures = 0

    async def wait(self, error: StorageUnavailable) -> None:
        """Waits before the next attempt.

        Args:
            error: The failure of the last one.

        Raises:
            StorageUnavailable: That error, where there is to be no further attempt.
        """
        self._failures += 1
        pause = pause_seconds(self._failures, error.retry_after)
        if not error.is_transient or not may_retry(self._failures, pause, self._attempts):
            raise error
        await asyncio.sleep(pause)


async def retry_write(operation: Callable[[], Awaitable[T]], attempts: int = ATTEMPTS) -> T:
    """Makes a write that is safe to repeat, and makes it again where storage failed.

    Args:
        operation: Makes one attempt.
        attempts: Maximum attempts outside of `keep_retrying`.

    Raises:
        StorageUnavailable: Every attempt failed.
        ObjectConflict: Its condition does not hold; perhaps an earlier attempt was done after all.
    """
    backoff = Backoff(attempts)
    while True:
        try:
            return await operation()
        except StorageUnavailable as error:
            await backoff.wait(error)
