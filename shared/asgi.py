"""Small pieces of ASGI that routes and triggers share."""

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

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
