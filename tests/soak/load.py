"""Users who call the app in parallel, and pause while it is looked at."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from time import monotonic

import httpx2
from azure.storage.blob.aio import BlobServiceClient

from tests.conftest import AUTH
from tests.soak.calls import CALLS
from tests.soak.held import Held, look
from tests.soak.user import User, Wrong
from tests.waiting import until
from tests.worker.process import WorkerProcess

USERS = 12
"""At a time."""
CALLS_OF_A_USER = 100
STRAIGHT_SECONDS = 2.0
"""Pause between two calls that go past the app."""
QUIET_SECONDS = 120


@dataclass(frozen=True)
class Timed:
    """A call that was made.

    Attributes:
        minute: When it began, from the start of the soak; below 0 while it warms up.
        kind: What it was.
        milliseconds: How long it took.
    """

    minute: float
    kind: str
    milliseconds: float


@dataclass
class Load:
    """All users together.

    Args:
        worker: The app.
        provider: Base URL of the provider.
        storage: Connection string of the storage.
        tool_server: URL of an MCP server to connect to.
        rate: About how many calls begin in a second.
        chance: Where chance comes from.

    Attributes:
        times: The calls that were made.
        errors: How often each kind of call went wrong in which way.
    """

    worker: WorkerProcess
    provider: str
    storage: str
    tool_server: str
    rate: float
    chance: random.Random
    times: list[Timed] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    _started_at: float = field(default_factory=lambda: monotonic() + 3600)
    _may_call: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: int = 0

    @property
    def minute(self) -> float:
        """How many minutes ago the soak began."""
        return (monotonic() - self._started_at) / 60

    def start(self) -> None:
        """Begins to count; what was before warmed up."""
        self._started_at = monotonic()
        self.times.clear()

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Has users call while the block runs."""
        self._may_call.set()
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(self.worker.client(AUTH))
            provider = await stack.enter_async_context(
                httpx2.AsyncClient(base_url=self.provider, headers=AUTH)
            )
            account = BlobServiceClient.from_connection_string(self.storage)
            await stack.enter_async_context(account)
            container = await account.create_container("straight")
            body = {"model": "m", "messages": [{"role": "user", "content": "Say hello"}]}
            straight: dict[str, Callable[[], Awaitable[object]]] = {
                "(straight to the provider)": lambda: provider.post("chat/completions", json=body),
                "(straight to storage)": lambda: container.upload_blob(
                    "probe", b"x" * 1000, overwrite=True
                ),
            }
            names = count()
            group = await stack.enter_async_context(asyncio.TaskGroup())
            tasks = [group.create_task(self._use(http, names)) for _ in range(USERS)]
            tasks.append(group.create_task(self._go_straight(straight)))
            yield
            for task in tasks:
                task.cancel()

    async def look(self) -> Held:
        """Waits until nothing is under way, and returns what the worker then holds."""
        self._may_call.clear()
        await until(lambda: self._under_way == 0, seconds=QUIET_SECONDS)
        await until(
            self.worker.state,
            lambda state: state["invocations"] == 0,
            seconds=QUIET_SECONDS,
            pause=0.2,
        )
        held = await look(self.worker, self.minute, len(self.times))
        print(held, flush=True)
        self._may_call.set()
        return held

    async def _use(self, http: httpx2.AsyncClient, names: "count[int]") -> None:
        user = User(http, f"user-{next(names)}", self.tool_server)
        kinds, weights = list(CALLS), list(CALLS.values())
        while True:
            if user.calls == CALLS_OF_A_USER:
                user = User(http, f"user-{next(names)}", self.tool_server)
            await asyncio.sleep(self.chance.expovariate(self.rate / USERS))
            await self._may_call.wait()
            (call,) = self.chance.choices(kinds, weights)
            await self._time(call.__name__, partial(call, user))
            user.calls += 1

    async def _go_straight(self, straight: dict[str, Callable[[], Awaitable[object]]]) -> None:
        while True:
            await asyncio.sleep(STRAIGHT_SECONDS)
            await self._may_call.wait()
            for kind, call in straight.items():
                await self._time(kind, call)

    async def _time(self, kind: str, call: Callable[[], Awaitable[object]]) -> None:
        minute, started = self.minute, monotonic()
        self._under_way += 1
        try:
            await call()
        except (Wrong, httpx2.HTTPError, AssertionError) as error:
            self.errors[f"{kind}: {type(error).__name__}: {error}"[:300]] += 1
        else:
            self.times.append(Timed(minute, kind, (monotonic() - started) * 1000))
        finally:
            self._under_way -= 1
