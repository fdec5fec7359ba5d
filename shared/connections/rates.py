"""How often something may happen."""

import asyncio
from time import monotonic


class Rate:
    """A token bucket: so many at once, and so many a second in the long run.

    Args:
        burst: How many may come at once.
        per_second: How many come back each second.
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
