"""Writing what must not be lost, though storage fails for a moment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.errors import StorageUnavailable

T = TypeVar("T")

PAUSES_SECONDS = (0.2, 1.0)
"""Before the second and the third attempt."""


async def persist(write: Callable[[], Awaitable[T]]) -> T:
    """Makes a write that is safe to repeat, again where storage failed.

    The stores make each conditional write once, because of one that failed nobody knows whether it was
    done. Where finding it done is as good as doing it, this tries again.

    Args:
        write: Makes one attempt.

    Raises:
        StorageUnavailable: It failed three times.
        ObjectConflict: Its condition does not hold; perhaps an earlier attempt was done after all.
    """
    for pause in PAUSES_SECONDS:
        try:
            return await write()
        except StorageUnavailable:
            await asyncio.sleep(pause)
    return await write()
