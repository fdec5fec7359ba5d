"""Waits under a limit: a test that waits for what never comes fails, and shows what it saw last."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

LIMIT_SECONDS = 60.0
"""Far more than anything here takes, so that a busy machine fails no test."""
_PAUSE_SECONDS = 0.01

T = TypeVar("T")


@overload
async def until(
    look: Callable[[], Awaitable[T]],
    accept: Callable[[T], object] = ...,
    seconds: float = ...,
    pause: float = ...,
) -> T: ...


@overload
async def until(
    look: Callable[[], T],
    accept: Callable[[T], object] = ...,
    seconds: float = ...,
    pause: float = ...,
) -> T: ...


async def until(
    look: Callable[[], object],
    accept: Callable[..., object] = bool,
    seconds: float = LIMIT_SECONDS,
    pause: float = _PAUSE_SECONDS,
) -> object:
    """Looks until what is seen is accepted, and returns it.

    Args:
        look: Returns or awaits what is to change.
        accept: Whether the wait is over; without it, whatever is true ends it.
        seconds: How long to wait at most.
        pause: Seconds between two looks, longer where a look costs much.

    Raises:
        AssertionError: It was not accepted in time.
    """
    seen: object = None
    try:
        async with asyncio.timeout(seconds) as limit:
            while True:
                seen = look()
                if inspect.isawaitable(seen):
                    seen = await seen
                if accept(seen):
                    return seen
                await asyncio.sleep(pause)
    except TimeoutError:
        if not limit.expired():
            raise
        raise _overdue(seen, seconds) from None


def block_until(
    look: Callable[[], T],
    accept: Callable[[T], object] = bool,
    seconds: float = LIMIT_SECONDS,
) -> T:
    """Does what `until` does, where nothing else runs meanwhile."""
    end = time.monotonic() + seconds
    while not accept(seen := look()):
        if time.monotonic() > end:
            raise _overdue(seen, seconds)
        time.sleep(_PAUSE_SECONDS)
    return seen


def _overdue(seen: object, seconds: float) -> AssertionError:
    return AssertionError(f"After {seconds:g} s this was still to be seen: {seen!r}")
