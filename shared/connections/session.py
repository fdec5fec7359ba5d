"""One live session with a server."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from shared.connections.errors import ConnectionEnded, closed
from shared.connections.exchange import Exchange, current_exchange
from shared.connections.targets import Target

if TYPE_CHECKING:
    from mcp import Client

T = TypeVar("T")
Operation = Callable[["Client"], Awaitable[T]]

CLOSE_SECONDS = 5.0


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
        self._exchange = Exchange()
        self._is_retired = False
        self._is_ended = False
        self._is_remembered = False
        self._stopping = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        self._client: Client | None = None

    @property
    def is_alive(self) -> bool:
        """Whether operations can run."""
        is_open = self._owner is not None and not self._owner.done()
        return self._client is not None and is_open and not self._is_retired

    async def open(self) -> None:
        """Connects.

        Raises:
            GatewayError: That failed.
        """
        opened = asyncio.Event()
        # In a context of its own: it outlives the call that opens it, and logs nothing in its name.
        self._owner = _start(self._hold_open(opened), self._exchange, contextvars.Context())
        # How a session ends is told by what is running in it; while nothing is, nobody needs to know.
        self._owner.add_done_callback(lambda owner: owner.cancelled() or owner.exception())
        opening = asyncio.create_task(opened.wait())
        try:
            await self._finished(opening, self._exchange)
        except BaseException as error:
            failure = self._owner.exception() if self._has_failed else None
            await self.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise self._sdk.translated(failure or error, self._exchange) from error

    async def remember(self) -> None:
        """Keeps what the server said of itself, once."""
        if self._client is not None and not self._is_remembered:
            self._is_remembered = True
            await self._target.remember(self._sdk.negotiated(self._client))

    async def run(self, operation: Operation[T], exchange: Exchange) -> T:
        """Runs an operation.

        Raises:
            ConnectionEnded: The connection was ended meanwhile.
            Exception: Whatever the SDK raises.
        """
        if self._client is None:
            raise closed()
        task = _start(operation(self._client), exchange, contextvars.copy_context())
        try:
            return await self._finished(task, exchange)
        except Exception as error:
            if self._is_ended:
                raise ConnectionEnded from error
            # Where one stream carries all answers, what ended it concerns each of them.
            if not self.is_alive and self._exchange.failure is not None:
                exchange.fail(self._exchange.failure)
            raise

    def has_lost_session(self, error: BaseException, exchange: Exchange) -> bool:
        """Whether the server refused a request because it does not know this session any more."""
        return self._client is not None and bool(
            self._sdk.has_lost_session(error, exchange, self._client)
        )

    def acquire(self) -> None:
        """Keeps the session open until it is released."""
        self.users += 1

    def release(self) -> None:
        """Lets go of the session."""
        self.users -= 1
        self.used_at = monotonic()
        if self._is_retired and not self.users:
            self._stopping.set()

    def retire(self) -> None:
        """Takes no further operation; those that run may end, since what failed may be one alone."""
        self._is_retired = True
        if not self.users:
            self._stopping.set()

    def end(self) -> None:
        """Stops the session because its connection is ended, and tells that to whatever runs in it."""
        self._is_ended = True
        self.stop()

    def stop(self) -> None:
        """Ends the session and whatever runs in it."""
        self._is_retired = True
        self._stopping.set()

    async def close(self) -> None:
        """Says goodbye once nothing runs any more, for a few seconds at most."""
        self.retire()
        await self._stopping.wait()
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
        async with self._sdk.open_mcp(self._target, self.retire) as client:
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
            raise closed()
        finally:
            failing.cancel()
            task.cancel()
            await asyncio.gather(task, failing, return_exceptions=True)


def _start(
    work: Awaitable[T], exchange: Exchange, context: contextvars.Context
) -> "asyncio.Task[T]":
    context.run(current_exchange.set, exchange)

    async def run() -> T:
        return await work

    return asyncio.create_task(run(), context=context)
