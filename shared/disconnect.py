"""What happens when a client disconnects: the block that works for it is cancelled.

Calls with an idempotency key and detached tools go on: see `tools/tool.py`.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Receive

SHUTDOWN_REASON = "shutdown"
"""The ``reason`` of an ``http.disconnect`` by which a host that stops ends a request."""


def cancel_on_disconnect(receive: Receive) -> AbstractAsyncContextManager[None]:
    """Cancels the block when the client disconnects.

    Servers do not cancel a handler whose client has disconnected, and the provider bills to the end.

    Args:
        receive: Of a request whose body has been read.

    Raises:
        ClientDisconnect: On leaving the block, because the client has disconnected.
    """
    return _Watch(receive)


class _Watch(AbstractAsyncContextManager[None]):
    """A block beside which a task watches the client, from when the block first waits for something."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watching: asyncio.Task[None] | None = None
        self._is_left = False

    async def __aenter__(self) -> None:
        # The loop comes to it only where the block waits: most blocks are over before.
        self._starting = asyncio.get_running_loop().call_soon(self._start)
        self._limit = asyncio.timeout(None)
        await self._limit.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._starting.cancel()
        self._is_left = True
        try:
            await self._limit.__aexit__(kind, error, traceback)
            if isinstance(error, Exception) and self._limit.expired():
                raise ClientDisconnect from error
        except TimeoutError as cancelled:
            raise ClientDisconnect from cancelled
        finally:
            if self._watching is not None:
                self._watching.cancel()
                await asyncio.gather(self._watching, return_exceptions=True)

    def _start(self) -> None:
        self._watching = asyncio.create_task(_wait_for_disconnect(self._receive))
        self._watching.add_done_callback(self._cancel)

    def _cancel(self, _: "asyncio.Task[None]") -> None:
        # The client may disconnect just when the block ends.
        if not self._is_left:
            self._limit.reschedule(0)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
