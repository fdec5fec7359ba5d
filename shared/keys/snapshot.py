"""The stored keys as one instance knows them: read again in the background, by one read at a time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

from pydantic import ValidationError

from shared.auth import Keyring
from shared.deadline import create_detached_task, time_limit
from shared.errors import GatewayError, StorageUnavailable

logger = logging.getLogger(__name__)

READ_SECONDS = 5.0
"""How long one read may take."""
STALE_AFTER = 2.0
"""Intervals after which requests wait for the next read, because a key may have been deleted."""
LIFETIME_SECONDS = 600.0
"""How long what was read last serves while storage fails."""


class KeySnapshot:
    """Stored keys, at most some seconds old while storage answers.

    Whoever asks starts the next read when an interval is over, and is answered from the last one. No
    caller, with whatever key, makes storage be asked more often than that.

    Args:
        read: Reads the keys.
        interval: Seconds between two reads.
        lifetime: Seconds that the last read serves while storage fails.
        clock: Counts the seconds.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[Keyring]],
        interval: float,
        lifetime: float = LIFETIME_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._read = read
        self._interval = interval
        self._lifetime = lifetime
        self._clock = clock
        self._keyring: Keyring | None = None
        self._read_at = 0.0
        self._failed_at: float | None = None
        self._replacements = 0
        self._reading: asyncio.Task[None] | None = None

    @property
    def known(self) -> Keyring | None:
        """The keys as they were read last; None where they are not known, or too old."""
        return None if self._age() > self._lifetime else self._keyring

    async def keyring(self) -> Keyring:
        """Returns the keys.

        Raises:
            StorageUnavailable: They are not known, and cannot be read.
        """
        age = self._age()
        if age >= self._interval and self._reading is None and not self._has_failed(self._interval):
            self._reading = create_detached_task(self._refresh())
        reading = self._reading
        if reading is not None and (self.known is None or self._has_to_wait(age)):
            await asyncio.wait({reading})
        known = self.known
        if known is None:
            raise StorageUnavailable(
                "Storage does not answer, so that keys cannot be looked up there. Try again later.",
                self._interval,
            )
        return known

    def replace(self, keyring: Keyring) -> None:
        """Takes the keys as this instance has just stored them; a read that is under way is void."""
        self._replacements += 1
        self._keyring = keyring
        self._read_at = self._clock()

    async def aclose(self) -> None:
        """Waits for the read that is under way."""
        if self._reading is not None:
            await asyncio.wait({self._reading})

    def _has_to_wait(self, age: float) -> bool:
        """Returns whether a key may have been deleted too long ago to be answered from memory."""
        limit = STALE_AFTER * self._interval
        # Not while storage is known to fail: nobody is to wait for each attempt.
        return age >= limit and not self._has_failed(limit + READ_SECONDS)

    def _age(self) -> float:
        return float("inf") if self._keyring is None else self._clock() - self._read_at

    def _has_failed(self, seconds: float) -> bool:
        return self._failed_at is not None and self._clock() - self._failed_at < seconds

    async def _refresh(self) -> None:
        began, replacements = self._clock(), self._replacements
        try:
            async with time_limit(READ_SECONDS):
                keyring = await self._read()
        except (GatewayError, ValidationError) as error:
            reason = error.code if isinstance(error, GatewayError) else "not in a known form"
            logger.warning("Stored keys cannot be read: %s", reason)
            self._failed_at = self._clock()
        else:
            self._failed_at = None
            if replacements == self._replacements:
                self._keyring, self._read_at = keyring, began
        finally:
            self._reading = None
