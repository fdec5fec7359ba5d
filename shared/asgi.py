"""Small pieces of ASGI that routes and triggers share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

SHUTDOWN_REASON = "shutdown"
"""The ``reason`` of an ``http.disconnect`` by which a host that stops ends a request."""

AsgiApplication = Callable[[Scope, Receive, Send], Awaitable[None]]


class AsgiResponse(Response):
    """A response that an ASGI application sends, in its own time and streaming if it likes.

    Args:
        application: Called with the request's scope when the response is to be sent.
    """

    def __init__(self, application: AsgiApplication) -> None:
        super().__init__()
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the application answer."""
        await self._application(scope, receive, send)


async def wait_for_ever() -> Message:
    """Tells of nothing: the ``receive`` of an application whose caller watches the client itself."""
    return await asyncio.Future[Message]()


def replay(body: bytes, receive: Receive = wait_for_ever) -> Receive:
    """Returns a ``receive`` that gives a body which has been read before, and then what comes next.

    Args:
        body: The whole body.
        receive: Tells of what comes next.
    """
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


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
