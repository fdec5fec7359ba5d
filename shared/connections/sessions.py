"""Live sessions: a cache of this instance, which it can lose at any time."""

import asyncio
import contextvars
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from shared.connections.errors import ConnectionTimeout, ServerUnavailable
from shared.connections.exchange import Exchange, current_exchange
from shared.connections.targets import Target
from shared.deadline import Deadline
from shared.errors import DeadlineExceeded

if TYPE_CHECKING:
    from mcp import Client

T = TypeVar("T")
Operation = Callable[["Client"], Awaitable[T]]

MAX_SESSIONS = 50
IDLE_SECONDS = 300.0
CLOSE_SECONDS = 5.0


@asynccontextmanager
async def answered_within(seconds: float, deadline: Deadline) -> AsyncIterator[None]:
    """Gives a server some of the request's time.

    Raises:
        ConnectionTimeout: It took longer.
        DeadlineExceeded: The request has no time left.
    """
    try:
        async with deadline.within(seconds).limit():
            yield
    except ConnectionTimeout:
        raise
    except DeadlineExceeded as error:
        if not deadline.remaining():
            raise deadline.exceeded() from error
        raise ConnectionTimeout(f"The MCP server did not answer within {seconds:g} s.") from error


class Session:
    """One open session, held open by a task of its own: the SDK's task groups belong to a task.

    Args:
        target: The server.
        sdk: The module `shared.connections.transports`.
    """

    def __init__(self, target: Target, sdk: Any) -> None:
        self.used_at = monotonic()
        self.users = 0
        self._target = target
        self._sdk = sdk
        self._stopping = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        self._client: Client | None = None

    @property
    def is_alive(self) -> bool:
        """Whether operations can run."""
        is_open = self._owner is not None and not self._owner.done()
        return self._client is not None and is_open and not self._stopping.is_set()

    async def open(self) -> None:
        """Connects.

        Raises:
            GatewayError: That failed.
        """
        exchange = Exchange()
        opened = asyncio.Event()
        self._owner = _start(self._hold_open(opened), exchange)
        # How a session ends is told by what is running in it; while nothing is, nobody needs to know.
        self._owner.add_done_callback(lambda owner: owner.cancelled() or owner.exception())
        opening = asyncio.create_task(opened.wait())
        try:
            await self._finished(opening, exchange)
        except BaseException as error:
            failure = self._owner.exception() if self._has_failed else None
            await self.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise self._sdk.translated(failure or error, exchange) from error
        if self._client is not None:
            await self._target.remember(self._sdk.negotiated(self._client))

    async def run(self, operation: Operation[T], exchange: Exchange) -> T:
        """Runs an operation.

        Raises:
            Exception: Whatever the SDK raises.
        """
        if self._client is None:
            raise ServerUnavailable("The MCP server closed the connection. Try again.")
        self.users += 1
        task = _start(operation(self._client), exchange)
        try:
            return await self._finished(task, exchange)
        finally:
            self.users -= 1
            self.used_at = monotonic()

    def has_lost_session(self, error: BaseException, exchange: Exchange) -> bool:
        """Whether the server refused a request because it does not know this session any more."""
        return self._client is not None and bool(
            self._sdk.has_lost_session(error, exchange, self._client)
        )

    async def close(self) -> None:
        """Says goodbye, for a few seconds at most."""
        self._stopping.set()
        owner = self._owner
        if owner is None:
            return
        done, _ = await asyncio.wait({owner}, timeout=CLOSE_SECONDS if self._client else 0)
        if not done:
            owner.cancel()
            await asyncio.wait({owner}, timeout=CLOSE_SECONDS)

    @property
    def _has_failed(self) -> bool:
        owner = self._owner
        return bool(owner and owner.done() and not owner.cancelled() and owner.exception())

    async def _hold_open(self, opened: asyncio.Event) -> None:
        # A server that ends the stream ends the session, so that nobody sends it a request in vain.
        async with self._sdk.open_mcp(self._target, self._stopping.set) as client:
            self._client = client
            opened.set()
            await self._stopping.wait()

    async def _finished(self, task: "asyncio.Task[T]", exchange: Exchange) -> T:
        """Returns the task's result, unless a request fails or the session ends before it."""
        failing = asyncio.create_task(exchange.failed.wait())
        waited: set[asyncio.Task[Any]] = {task, failing}
        if self._owner is not None:
            waited.add(self._owner)
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if exchange.failure is not None:
                raise exchange.failure
            raise ServerUnavailable("The MCP server closed the connection. Try again.")
        finally:
            failing.cancel()
            task.cancel()
            await asyncio.gather(task, failing, return_exceptions=True)


def _start(work: Awaitable[T], exchange: Exchange) -> "asyncio.Task[T]":
    context = contextvars.copy_context()
    context.run(current_exchange.set, exchange)

    async def run() -> T:
        return await work

    return asyncio.create_task(run(), context=context)


class SessionCache:
    """Opens sessions on demand, keeps them while they are used, and closes them in the end.

    Args:
        limit: How many are open at most; the longest unused one makes room.
        idle_seconds: After how long an unused one is closed.
    """

    def __init__(self, limit: int = MAX_SESSIONS, idle_seconds: float = IDLE_SECONDS) -> None:
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._sessions: dict[str, Session] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._sdk: Any = None

    def __len__(self) -> int:
        return sum(session.is_alive for session in self._sessions.values())

    async def run(
        self,
        target: Target,
        operation: Operation[T],
        *,
        deadline: Deadline,
        timeout: float,  # noqa: ASYNC109 - the server's share of the deadline
        is_repeatable: bool,
    ) -> T:
        """Runs an operation in the target's session, in a new one if the server has lost the old one.

        Args:
            target: The server.
            operation: What to do; may run twice.
            deadline: Until when.
            timeout: Seconds that the server may take for it.
            is_repeatable: Whether it does no harm to do it twice.

        Raises:
            ConnectionTimeout: The server takes too long.
            GatewayError: The server cannot be reached, or refuses.
        """
        session = await self._acquire(target, deadline)
        exchange = Exchange()
        try:
            async with answered_within(timeout, deadline):
                return await session.run(operation, exchange)
        except Exception as error:
            if isinstance(error, DeadlineExceeded):
                raise
            is_lost = session.has_lost_session(error, exchange)
            is_broken = not session.is_alive or self._sdk.has_dropped(error, exchange)
            if is_lost or is_broken:
                self._discard(target.key, session)
            if not is_lost and not (is_broken and is_repeatable):
                raise self._sdk.translated(error, exchange) from error
        session = await self._acquire(target, deadline, is_new=True)
        exchange = Exchange()
        try:
            async with answered_within(timeout, deadline):
                return await session.run(operation, exchange)
        except DeadlineExceeded:
            raise
        except Exception as error:
            raise self._sdk.translated(error, exchange) from error

    def drop(self, key: str) -> None:
        """Closes a session, if there is one, without waiting for it."""
        session = self._sessions.get(key)
        if session is not None:
            self._discard(key, session)

    async def aclose(self) -> None:
        """Closes all sessions."""
        for key in list(self._sessions):
            self.drop(key)
        if self._sweeping is not None:
            self._sweeping.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _acquire(self, target: Target, deadline: Deadline, is_new: bool = False) -> Session:
        if self._sdk is None:
            self._sdk = await asyncio.to_thread(
                importlib.import_module, "shared.connections.transports"
            )
        lock = self._locks.setdefault(target.key, asyncio.Lock())
        async with answered_within(target.connect_timeout, deadline), lock:
            session = self._sessions.get(target.key)
            if session is not None and session.is_alive:
                session.used_at = monotonic()
                return session
            if session is not None:
                self._discard(target.key, session)
            # What the server said last time may be what it takes offence at now.
            fresh = replace(target, negotiated=None)
            session = Session(fresh if is_new else target, self._sdk)
            await session.open()
            self._make_room()
            self._sessions[target.key] = session
            self._plan_sweep()
            return session

    def _discard(self, key: str, session: Session) -> None:
        if self._sessions.get(key) is session:
            del self._sessions[key]
        task = asyncio.create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _make_room(self) -> None:
        unused = [
            (session.used_at, key) for key, session in self._sessions.items() if not session.users
        ]
        for _, key in sorted(unused)[: max(0, len(self._sessions) - self._limit + 1)]:
            self.drop(key)

    def _plan_sweep(self) -> None:
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(
                self._idle_seconds / 2, self._sweep
            )

    def _sweep(self) -> None:
        self._sweeping = None
        oldest = monotonic() - self._idle_seconds
        for key, session in list(self._sessions.items()):
            if not session.users and (session.used_at < oldest or not session.is_alive):
                self.drop(key)
        self._locks = {
            key: lock for key, lock in self._locks.items() if key in self._sessions or lock.locked()
        }
        if self._sessions:
            self._plan_sweep()
