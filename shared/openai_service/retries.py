"""Retries that never outlive the deadline; the SDK's own are off, because they know none."""

import random
from asyncio import sleep
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.deadline import Deadline
from shared.errors import ProviderDisconnected, RateLimited

T = TypeVar("T")

MAX_ATTEMPTS = 4
FIRST_BACKOFF_SECONDS = 0.5


async def with_retries(
    call: Callable[[], Awaitable[T]], deadline: Deadline, *, repeatable: bool = True
) -> T:
    """Calls the provider, again after a 429 or a failed connection, while the deadline allows it.

    A provider's ``Retry-After`` is honoured; where it does not fit into the deadline the error is
    raised at once, so that the caller can wait instead of us.

    Args:
        call: Makes one attempt and raises `GatewayError`s.
        deadline: The budget of the whole request.
        repeatable: Whether a request that may have arrived may be sent again. Paid media calls may
            not: the provider would bill them twice.

    Raises:
        DeadlineExceeded: The deadline ended an attempt.
        ProviderError: The last attempt's error.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            return await deadline.wait_for(call())
        except RateLimited as error:
            asked = error.retry_after
            if not _may_wait(
                attempt, delay := _backoff(attempt) if asked is None else asked, deadline
            ):
                raise
        except ProviderDisconnected as error:
            delay = _backoff(attempt)
            if (error.was_sent and not repeatable) or not _may_wait(attempt, delay, deadline):
                raise
        await sleep(delay)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _may_wait(attempt: int, delay: float, deadline: Deadline) -> bool:
    return attempt < MAX_ATTEMPTS and delay < deadline.remaining()


def _backoff(attempt: int) -> float:
    # Jitter keeps instances that were refused together from coming back together.
    jitter = random.uniform(0.5, 1.0)  # noqa: S311  # Nothing depends on its being secret.
    return FIRST_BACKOFF_SECONDS * float(2 ** (attempt - 1)) * jitter
