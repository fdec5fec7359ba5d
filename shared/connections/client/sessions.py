"""Live sessions with servers: a cache of this instance, which it can lose at any time."""

import asyncio
import gc
import importlib
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from shared.connections.client.answers import HttpTrace, current_trace
from shared.connections.client.target import Target
from shared.connections.errors import ConnectionEnded, ServerRefused, answered_within, closed
from shared.errors import DeadlineExceeded, GatewayError

if TYPE_CHECKING:
    from mcp import Client

T = TypeVar("T")
_SDK = "shared.connections.client.transports"
Operation = Callable[["Client"], Coroutine[Any, Any, T]]

MAX_SESSIONS = 50
IDLE_SECONDS = 300.0
CLOSE_SECONDS = 5.0
"""Seconds that a server has for its part in the end of a session."""


class Session:
    """One open session, held open by a task of its own: the SDK's task groups belong to a task.

    Attributes:
        key: The connection that it is of.
        client: The SDK's client, once it is open.
        holder: The task, once it is opened.
        users: Number of operations that use it.
        idling: Ends it once it has been unused for long; None while it is used.
    """

    def __init__(self, target: Target, sdk: Any) -> None:
        self.key = target.key
        self.users = 0
        self.holder: asyncio.Task[None] | None = None
        self.idling: asyncio.TimerHandle | None = None
        self.client: Client | None = None
        self._target = target
        self._sdk = sdk
        self._trace = HttpTrace()
        self._is_retired = False
        self._is_remembered = False
        self._make_error: Callable[[], GatewayError] = closed
        self._stopping = asyncio.Event()
        self._ending: set[asyncio.Task[Any]] = set()

    @property
    def is_usable(self) -> bool:
        """Whether operations can begin."""
        is_held = self.holder is not None and not self.holder.done()
        return self.client is not None and is_held and not self._is_retired

    async def open(self) -> None:
        """Connects.

        Raises:
            GatewayError: That failed.
        """
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # In a context of its own: it outlives the call that opens it, and logs nothing in its name.
        holder = self.holder = _start(self._hold_open(opened), self._trace, Context())
        # Retrieves the exception, so that asyncio does not log it; running operations report it.
        holder.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await self._result_of(opened, self._trace)
        except BaseException as error:
            failure = holder.exception() if holder.done() and not holder.cancelled() else None
            holder.cancel()
            if isinstance(error, asyncio.CancelledError):
                # Its caller has no time left for the server's part in the end.
                raise
            await asyncio.wait({holder}, timeout=CLOSE_SECONDS)
            raise self._sdk.translated(failure or error, self._trace) from error

    async def remember(self) -> None:
        """Keeps what the server said of itself, once."""
        if self.client is not None and not self._is_remembered:
            self._is_remembered = True
            await self._target.remember(self._sdk.negotiated(self.client))

    async def run(self, operation: Operation[T], trace: HttpTrace) -> T:
        """Runs an operation.

        Raises:
            ConnectionEnded: The connection was ended meanwhile.
            Exception: Whatever the SDK raises.
        """
        if self.client is None:
            raise closed()
        task = _start(operation(self.client), trace, copy_context())
        try:
            return await self._result_of(task, trace)
        except Exception as error:
            if self._make_error is ConnectionEnded:
                raise ConnectionEnded from error
            # Where one stream carries all answers, what ended it concerns each of them.
            if not self.is_usable and self._trace.failure is not None:
                trace.fail(self._trace.failure)
            raise
        finally:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            # It tells the server, unless it is cancelled once more: a caller that anyio cancels is
            # cancelled again at each await, and `gather` would pass that on.
            await asyncio.wait({task})

    def release(self) -> None:
        """Ends one use."""
        self.users -= 1
        if self._is_retired and not self.users:
            self._stopping.set()

    def retire(self) -> None:
        """Refuses further operations; those that run go on, since the failure may be of one alone."""
        self._is_retired = True
        if not self.users:
            self._stopping.set()

    def stop(self, make_error: Callable[[], GatewayError]) -> None:
        """Ends the session, and whatever runs in it with an error."""
        self._is_retired = True
        self._make_error = make_error
        self._stopping.set()

    async def wait_closed(self) -> None:
        """Waits until the session has ended, for a few seconds more than its server has."""
        if self.holder is not None:
            await asyncio.wait({self.holder}, timeout=2 * CLOSE_SECONDS)

    async def _hold_open(self, opened: "asyncio.Future[None]") -> None:
        async with asyncio.timeout(None) as limit:
            # A server that ends the stream ends the session, so that no request is sent in vain.
            async with self._sdk.open_mcp(self._target, self.retire) as client:
                self.client = client
                opened.set_result(None)
                await self._stopping.wait()
                limit.reschedule(asyncio.get_running_loop().time() + CLOSE_SECONDS)

    async def _result_of(self, work: "asyncio.Future[T]", trace: HttpTrace) -> T:
        """Returns the result of the work, unless a request fails or the session ends before it."""
        awaited: set[asyncio.Future[Any]] = {work, trace.failed}
        if self.holder is not None:
            awaited.add(self.holder)
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise trace.failure or self._make_error()


class SessionCache:
    """Opens sessions on demand, keeps them while they are used, and closes them in the end.

    Args:
        limit: Maximum open sessions; the one that is unused for longest makes room.
        idle_seconds: Seconds after which an unused one is closed.
    """

    def __init__(self, limit: int = MAX_SESSIONS, idle_seconds: float = IDLE_SECONDS) -> None:
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._sessions: dict[str, Session] = {}  # The one that was used last comes last.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._retired: set[Session] = set()  # They end once nothing runs in them.
        self._sdk: Any = None

    def __len__(self) -> int:
        return sum(session.is_usable for session in self._sessions.values())

    async def run(
        self,
        target: Target,
        operation: Operation[T],
        *,
        timeout: float,  # noqa: ASYNC109 - the server's share of the call's time
        is_repeatable: bool,
    ) -> T:
        """Runs an operation in the target's session, in a new one if the server has lost the old one.

        Args:
            target: The server.
            operation: What to do; may run twice.
            timeout: Seconds that the server may take for it.
            is_repeatable: Whether running it twice does no harm.

        Raises:
            ConnectionTimeout: The server takes too long.
            ConnectionEnded: The connection was ended meanwhile.
            GatewayError: The server cannot be reached, or refuses.
        """
        for is_last in (False, True):
            trace = HttpTrace()
            async with self._session(target, is_new=is_last) as session:
                try:
                    await session.remember()
                    async with answered_within(timeout):
                        return await session.run(operation, trace)
                except (DeadlineExceeded, ConnectionEnded):
                    raise
                except Exception as error:
                    is_lost = self._sdk.has_lost_session(error, trace, session.client)
                    is_broken = not session.is_usable or self._sdk.has_dropped(error, trace)
                    if is_lost or is_broken:
                        self._evict(session)
                    # An error of this app's would only be raised again.
                    may_repeat = is_repeatable and not isinstance(trace.failure, GatewayError)
                    if is_last or not (is_lost or (is_broken and may_repeat)):
                        raise self._sdk.translated(error, trace) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    def end(self, key: str) -> None:
        """Closes the session of a connection that is ended, and ends what runs in it."""
        session = self._sessions.get(key)
        if session is not None:
            session.stop(ConnectionEnded)
            self._evict(session)

    async def aclose(self) -> None:
        """Closes all sessions."""
        sessions = [*self._sessions.values(), *self._retired]
        for session in sessions:
            session.stop(closed)
            self._evict(session)
        await asyncio.gather(*(session.wait_closed() for session in sessions))

    @asynccontextmanager
    async def _session(self, target: Target, *, is_new: bool) -> AsyncIterator[Session]:
        """Gives the target's session, which stays open for the block."""
        session = await self._acquire(target, is_new=is_new)
        try:
            yield session
        finally:
            session.release()
            if not session.users and self._sessions.get(session.key) is session:
                loop = asyncio.get_running_loop()
                session.idling = loop.call_later(self._idle_seconds, self._evict, session)

    async def _acquire(self, target: Target, *, is_new: bool) -> Session:
        if self._sdk is None:
            self._sdk = await asyncio.to_thread(_load_sdk)
        lock = self._locks.setdefault(target.key, asyncio.Lock())
        async with answered_within(target.connect_timeout), lock:
            session = self._sessions.pop(target.key, None)
            if session is None or not session.is_usable:
                if session is not None:
                    self._evict(session)
                session = await self._open(target, is_new)
                self._make_room()
            self._sessions[target.key] = session
            session.users += 1
            if session.idling is not None:
                session.idling.cancel()
                session.idling = None
            return session

    async def _open(self, target: Target, is_new: bool) -> Session:
        # The stored discover result may be stale: retry without it.
        unknown = Session(replace(target, negotiated=None), self._sdk)
        if target.negotiated is None or is_new:
            return await self._opened(unknown)
        try:
            return await self._opened(Session(target, self._sdk))
        except ServerRefused:
            return await self._opened(unknown)

    async def _opened(self, session: Session) -> Session:
        try:
            await session.open()
        except BaseException:
            # It may end later than its caller's time.
            self._evict(session)
            raise
        return session

    def _evict(self, session: Session) -> None:
        """Takes a session out of use: it closes once nothing runs in it any more."""
        if self._sessions.get(session.key) is session:
            del self._sessions[session.key]
        if session.idling is not None:
            session.idling.cancel()
        session.retire()
        if session.holder is not None and not session.holder.done():
            self._retired.add(session)
            session.holder.add_done_callback(lambda _: self._retired.discard(session))

    def _make_room(self) -> None:
        for session in list(self._sessions.values()):
            if len(self._sessions) < self._limit:
                break
            if not session.users:
                self._evict(session)


def _start(work: Coroutine[Any, Any, T], trace: HttpTrace, context: Context) -> "asyncio.Task[T]":
    context.run(current_trace.set, trace)
    return asyncio.create_task(work, context=context)


def _load_sdk() -> Any:
    """Imports the MCP SDK.

    What is loaded then stays, so the garbage collector need not look through it again and again: a full
    collection took 100 ms of everybody's time, and a server that lists much makes one likely.
    """
    is_loaded = _SDK in sys.modules
    sdk = importlib.import_module(_SDK)
    if not is_loaded:
        gc.freeze()
    return sdk
