"""Real workers behind a round robin, killed and started again while callers use them."""

import asyncio
import os
import random
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx2

from tests.worker.process import WorkerProcess, run_worker

WORKERS = 3


@dataclass
class Place:
    """Where one worker after the other runs.

    Attributes:
        worker: The one that runs, or has just been killed.
        kills: How many have been killed here.
    """

    worker: WorkerProcess
    kills: int = 0


@dataclass
class Fleet:
    """Workers behind a round robin.

    Attributes:
        environment: App settings of all of them.
        stack: Stops them at the end.
        ready: Those that take requests; one that is being started is not among them.
    """

    environment: Mapping[str, str]
    stack: ExitStack
    places: list[Place] = field(default_factory=list)
    ready: list[Place] = field(default_factory=list)
    kills: int = 0
    _turn: int = 0

    async def start(self) -> None:
        """Starts all workers."""
        for worker in await asyncio.gather(*(self._run() for _ in range(WORKERS))):
            self.places.append(Place(worker))
        self.ready = list(self.places)

    async def kill(self, chance: random.Random) -> None:
        """Kills one worker, and starts another in its place."""
        place = chance.choice(self.places)
        os.kill(place.worker.pid, signal.SIGKILL)
        place.kills += 1
        self.kills += 1
        # As a load balancer does, once a connection is refused.
        self.ready.remove(place)
        place.worker = await self._run()
        self.ready.append(place)

    async def next(self) -> Place:
        """Returns where to send the next request."""
        while not self.ready:
            await asyncio.sleep(0.05)
        self._turn += 1
        return self.ready[self._turn % len(self.ready)]

    async def _run(self) -> WorkerProcess:
        return await asyncio.to_thread(self.stack.enter_context, run_worker(dict(self.environment)))


@dataclass
class Attempt:
    """What came of one request.

    Attributes:
        response: The answer; None where the connection broke.
        was_cut: Whether its worker was killed meanwhile.
    """

    response: httpx2.Response | None
    was_cut: bool


async def send(
    fleet: Fleet, http: httpx2.AsyncClient, method: str, path: str, **options: object
) -> Attempt:
    """Sends one request to the next worker."""
    place = await fleet.next()
    kills = place.kills
    try:
        response = await http.request(method, f"{place.worker.origin}{path}", **options)  # type: ignore[arg-type]
    except httpx2.TransportError:
        return Attempt(None, place.kills > kills)
    return Attempt(response, place.kills > kills)
