"""Live sessions: a cache of this instance, which it can lose at any time."""

import asyncio
import importlib
from dataclasses import replace
from time import monotonic
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from shared.connections.errors import ConnectionEnded, ServerRefused, answered_within
from shared.connections.exchange import Exchange
from shared.connections.session import Operation, Session
from shared.connections.targets import Target
from shared.errors import DeadlineExceeded, GatewayError

T = TypeVar("T")

MAX_SESSIONS = 50
IDLE_SECONDS = 300.0


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
        # A lock lives as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._leaving: dict[Session, asyncio.Task[None]] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._sdk: Any = None

    def __len__(self) -> int:
        return sum(session.is_alive for session in self._sessions.values())

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
            is_repeatable: Whether it does no harm to do it twice.

        Raises:
            ConnectionTimeout: The server takes too long.
            ConnectionEnded: The connection was ended meanwhile.
            GatewayError: The server cannot be reached, or refuses.
        """
        for is_last in (False, True):
            session = await self._acquire(target, is_new=is_last)
            exchange = Exchange()
            try:
                return await self._attempt(session, operation, exchange, timeout)
            except (DeadlineExceeded, ConnectionEnded):
                raise
            except Exception as error:
                if is_last or not self._needs_another(
                    target.key, session, error, exchange, is_repeatable=is_repeatable
                ):
                    raise self._sdk.translated(error, exchange) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    def end(self, key: str) -> None:
        """Closes the session of a connection that is ended, and ends what runs in it."""
        session = self._sessions.get(key)
        if session is not None:
            session.end()
            self._see_off(key, session)

    def drop(self, key: str) -> None:
        """Closes a session, if there is one, without waiting for it."""
        session = self._sessions.get(key)
        if session is not None:
            session.stop()
            self._see_off(key, session)

    async def aclose(self) -> None:
        """Closes all sessions."""
        for key in list(self._sessions):
            self.drop(key)
        if self._sweeping is not None:
            self._sweeping.cancel()
        for session in self._leaving:
            session.stop()
        await asyncio.gather(*self._leaving.values(), return_exceptions=True)

    def _needs_another(
        self,
        key: str,
        session: Session,
        error: Exception,
        exchange: Exchange,
        *,
        is_repeatable: bool,
    ) -> bool:
        """Whether what failed may succeed in a new session; one that is of no more use is seen off."""
        is_lost = session.has_lost_session(error, exchange)
        is_broken = not session.is_alive or self._sdk.has_dropped(error, exchange)
        if is_lost or is_broken:
            self._see_off(key, session)
        # What the house's errors say, a second attempt would only say again.
        is_final = isinstance(exchange.failure, GatewayError)
        return is_lost or (is_broken and is_repeatable and not is_final)

    async def _attempt(
        self,
        session: Session,
        operation: Operation[T],
        exchange: Exchange,
        timeout: float,  # noqa: ASYNC109 - the server's share of the call's time
    ) -> T:
        try:
            await session.remember()
            async with answered_within(timeout):
                return await session.run(operation, exchange)
        finally:
            session.release()

    async def _acquire(self, target: Target, is_new: bool = False) -> Session:
        """Returns a session that stays open until it is released."""
        if self._sdk is None:
            self._sdk = await asyncio.to_thread(
                importlib.import_module, "shared.connections.transports"
            )
        lock = self._locks.setdefault(target.key, asyncio.Lock())
        async with answered_within(target.connect_timeout), lock:
            session = self._sessions.get(target.key)
            if session is None or not session.is_alive:
                if session is not None:
                    self._see_off(target.key, session)
                session = await self._open(target, is_new)
                self._make_room()
                self._sessions[target.key] = session
                self._plan_sweep()
            session.acquire()
            return session

    async def _open(self, target: Target, is_new: bool) -> Session:
        # The stored discover result may be stale: retry without it.
        unknown = Session(replace(target, negotiated=None), self._sdk)
        if target.negotiated is None or is_new:
            await unknown.open()
            return unknown
        session = Session(target, self._sdk)
        try:
            await session.open()
        except ServerRefused:
            await unknown.open()
            return unknown
        return session

    def _see_off(self, key: str, session: Session) -> None:
        """Closes a session once nothing runs in it any more, and opens another one for what comes."""
        if self._sessions.get(key) is session:
            del self._sessions[key]
        if session not in self._leaving:
            session.retire()
            self._leaving[session] = task = asyncio.create_task(session.close())
            task.add_done_callback(lambda _: self._leaving.pop(session, None))

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
        if self._sessions:
            self._plan_sweep()
