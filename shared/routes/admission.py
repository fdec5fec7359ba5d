"""The way in: requests that come together begin a few in each round of the event loop."""

import asyncio
from collections import deque
from time import perf_counter

ROUND_SECONDS = 0.01
"""What a round of the event loop may take while requests wait to begin."""
FIRST_QUOTA = 4
"""How many requests begin in one round before any has to wait."""
LEAST_QUOTA = 2
"""How many begin in a long one, so that none waits for ever."""


class Admission:
    """Lets requests begin in the order in which they came.

    All that is ready in one round of the event loop runs before anything else. Hundreds of requests that
    begin in one would also reach their later steps together, and others, such as probes of health, would
    wait for all of them at each step. So the rest waits for later rounds, which begin more requests
    where they were short, and fewer where they were long.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_counting = False
        self._quota = FIRST_QUOTA
        self._left = 0
        self._round_began = 0.0

    async def enter(self) -> None:
        """Waits for the turn of a request; one that comes alone does not wait."""
        if not self._is_counting:
            self._quota = FIRST_QUOTA
            self._begin_round(0)
        if self._left > 0:
            self._left -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _begin_round(self, begun: int) -> None:
        self._is_counting = True
        self._left = self._quota - begun
        self._round_began = perf_counter()
        asyncio.get_running_loop().call_soon(self._end_round)

    def _end_round(self) -> None:
        if perf_counter() - self._round_began > ROUND_SECONDS:
            self._quota = max(self._quota // 2, LEAST_QUOTA)
        else:
            self._quota += 1
        begun = 0
        while self._waiting and begun < self._quota:
            turn = self._waiting.popleft()
            # Cancelled where its request was.
            if not turn.done():
                turn.set_result(None)
                begun += 1
        self._is_counting = False
        if begun:
            self._begin_round(begun)
