"""What happens when a client disconnects: the block that works for it is cancelled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect
from starlette.types import Receive

SHUTDOWN_REASON = "shutdown"
"""The ``reason`` of an ``http.disconnect`` by which a host that stops ends a request."""


@asynccontextmanager
async def cancel_on_disconnect(receive: Receive) -> AsyncIterator[None]:
    """Cancels the block when the client disconnects.

    Servers do not cancel a handler whose client has disconnected, and the provider bills to the end.

    Args:
        receive: Of a request whose body has been read.

    Raises:
        ClientDisconnect: On leaving the block, because the client has disconnected.
    """
    watching = asyncio.create_task(_wait_for_disconnect(receive))
    try:
        async with asyncio.timeout(None) as scope:

            def cancel(_: "asyncio.Task[None]") -> None:
                scope.reschedule(0)

            watching.add_done_callback(cancel)
            try:
                yield
            finally:
                watching.remove_done_callback(cancel)
    except Exception as error:
        if not scope.expired():
            raise
        raise ClientDisconnect from error
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
