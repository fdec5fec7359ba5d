"""The way in: requests that come together begin a few in each round of the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import thread_time

from starlette.requests import ClientDisconnect
from starlette.types import Receive

ROUND_SECONDS = 0.01
"""What the first steps of the requests that begin in one round of the event loop may compute."""
FIRST_QUOTA = 8
"""How many requests begin in one round before any has to wait."""
LEAST_QUOTA = 2
"""How many begin where they compute for long, so that none waits for ever."""
MOST_QUOTA = 32
"""How many begin where they compute little: nobody knows how long their later steps are."""


class Admission:
    """Lets requests begin in the order in which they came.

    All that is ready in one round of the event loop runs before anything else. Hundreds of requests that
    begin in one would also reach their later steps together, and others, such as probes of health, would
    wait for all of them at each step. So the rest waits for later rounds, which begin more requests
    where the first steps of those before were short, and fewer where they were long. What else runs in
    a round, such as running streams, does not count: it takes as long when fewer requests begin.

    Args:
        clock: Returns seconds of the processor.
    """

    def __init__(self, clock: Callable[[], float] = thread_time) -> None:
        self._clock = clock
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._is_counting = False
        self._quota = FIRST_QUOTA
        self._left = 0
        self._steps_began = 0.0

    async def enter(self, receive: Receive) -> None:
        """Waits for the turn of a request; one that comes alone does not wait.

        Args:
            receive: Of the request, watched for the disconnect where it waits.

        Raises:
            ClientDisconnect: The client has disconnected, or the server ends the request.
        """
        if not self._is_counting:
            self._is_counting = True
            self._quota = self._left = FIRST_QUOTA
            asyncio.get_running_loop().call_soon(self._begin_round)
        if self._left > 0:
            self._left -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        watching = asyncio.create_task(_give_up_on_disconnect(turn, receive))
        try:
            if not await turn:
                raise ClientDisconnect
        finally:
            # Not awaited: the first step of the request belongs into this round.
            watching.cancel()

    def _begin_round(self) -> None:
        loop = asyncio.get_running_loop()
        if self._waiting:
            # Their first steps run one after the other in the next round, behind this callback and
            # before the one below.
            loop.call_soon(self._begin_steps)
        begun = 0
        while self._waiting and begun < self._quota:
            turn = self._waiting.popleft()
            # Its request may have been cancelled, or its client have disconnected.
            if not turn.done():
                turn.set_result(True)
                begun += 1
        self._is_counting = begun > 0
        if begun:
            self._left = self._quota - begun
            loop.call_soon(self._end_round)

    def _begin_steps(self) -> None:
        self._steps_began = self._clock()

    def _end_round(self) -> None:
        computed = self._clock() - self._steps_began
        if computed > ROUND_SECONDS:
            self._quota = max(self._quota // 2, LEAST_QUOTA)
        elif computed < ROUND_SECONDS / 2:
            self._quota = min(self._quota * 2, MOST_QUOTA)
        self._begin_round()


async def _give_up_on_disconnect(turn: asyncio.Future[bool], receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if not turn.done():
        turn.set_result(False)
