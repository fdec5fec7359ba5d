"""Small pieces of ASGI that routes and triggers share."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

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
    """Waits for ever: the ``receive`` of an application whose caller watches the client itself."""
    return await asyncio.Future[Message]()


def replay(body: bytes, receive: Receive = wait_for_ever) -> Receive:
    """Returns a ``receive`` that gives a body which has been read before, and then what comes next.

    Args:
        body: The whole body.
        receive: Returns what comes next.
    """
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again
