"""The server in place of the library's own, and the end of an invocation with its response."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from inspect import signature
from time import monotonic
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from shared.background import collect_detached
from shared.functions_worker.pairs import Pairs, hand_over, logging_for

MAX_SECONDS = 280.0
"""How long an invocation with detached work lasts: the shortest limit of a plan is five minutes."""
KEEP_SECONDS = 1.0
"""How long the library's record is kept after the response: the library sets the response once more."""

_INVOCATION_ID = "x-ms-invocation-id"
_EXCHANGE = "functions_worker.exchange"
_CATCH_ALL = re.compile(r"/\{\w+:path\}")

EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])


class WorkerServer(FastAPI):
    """What the worker's library uses in place of `FastAPI`.

    Its own ``/openapi.json``, ``/docs`` and ``/redoc`` are gone: they would come before our functions of
    these names, whose invocations would then wait for their request for ever.

    Args:
        pairs: Ends and forgets what the library keeps.
        options: What the library asks of `FastAPI`.
    """

    def __init__(self, *, pairs: Pairs | None = None, **options: Any) -> None:
        self._pairs = pairs or Pairs()
        self._catch_all: Callable[[Request], Awaitable[Response]] | None = None
        super().__init__(
            **{
                "openapi_url": None,
                "lifespan": self._watch,
                # The application that answers makes the spans and metrics of requests.
                "telemetry": {"tracing": False, "metrics": False, "logs": False},
                **options,
            }
        )

    def api_route(
        self, path: str, *arguments: Any, **options: Any
    ) -> Callable[[EndpointT], EndpointT]:
        """Registers an endpoint; a catch-all route then takes every request, without a search.

        The library's ``{path:path}`` does not match line feeds: such a request would be answered with
        404, and its invocation would occupy the instance for ever.
        """
        register = super().api_route(path, *arguments, **options)

        def decorate(endpoint: EndpointT) -> EndpointT:
            if _CATCH_ALL.fullmatch(path) is None or len(signature(endpoint).parameters) != 1:
                return register(endpoint)
            self._catch_all = endpoint
            return endpoint

        return decorate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, then ends its invocation and drops the library's record of it."""
        if scope["type"] not in ("http", "websocket"):
            await super().__call__(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self._pairs)
        scope[_EXCHANGE] = exchange
        with logging_for(exchange.invocation_id), collect_detached() as exchange.detached:
            try:
                if self._catch_all is None or scope["type"] != "http":
                    await super().__call__(scope, exchange.receive, exchange.send)
                else:
                    # Without Starlette's layers for errors and exit stacks: the application that answers
                    # has its own.
                    scope["path_params"] = {}
                    request = Request(scope, exchange.receive, exchange.send)
                    response = await self._catch_all(request)
                    await response(scope, exchange.receive, exchange.send)
            finally:
                exchange.ended.set()
                if not exchange.is_awaited:
                    self._pairs.close(exchange.invocation_id)

    @asynccontextmanager
    async def _watch(self, _: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._pairs.watch())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


class Exchange:
    """A request of the worker's server and its response.

    Args:
        scope: The request.
        receive: Receives from its client.
        send: Sends to its client.
        pairs: Drops the library's record of it.

    Attributes:
        invocation_id: Its invocation.
        detached: Work of the request that goes on without it.
        is_awaited: Whether the invocation ends with the response, not before.
        ended: Set when the response was sent, or never will be.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, pairs: Pairs) -> None:
        self.invocation_id = Headers(scope=scope).get(_INVOCATION_ID, "")
        self.detached: set[asyncio.Task[Any]] = set()
        self.is_awaited = False
        self.ended = asyncio.Event()
        self._pairs = pairs
        self._receive = receive
        self._send = send
        self._ends_at = monotonic() + MAX_SECONDS
        self._is_head = scope.get("method") == "HEAD"
        self._has_length = self._is_complete = self._has_disconnected = False

    async def receive(self) -> Message:
        """Receives, and notes a client that disconnects before it has the response."""
        message = await self._receive()
        self._has_disconnected |= message["type"] == "http.disconnect" and not self._is_complete
        return message

    async def send(self, message: Message) -> None:
        """Sends a part of the response, and notes whether the client sees its end by itself."""
        if message["type"] == "http.response.start":
            length = Headers(raw=message.get("headers", [])).get("content-length", "0")
            self._has_length = length != "0" and not self._is_head
        elif message["type"] == "http.response.body":
            self._is_complete = not message.get("more_body", False)
        await self._send(message)

    async def finish(self) -> None:
        """Waits for the response, and for what goes on after it where the client does not wait as well.

        The host ends the response when the invocation ends. A client that does not know the length of
        the body waits for that.
        """
        try:
            await self.ended.wait()
            while self.detached and not self._is_client_waiting:
                remaining = self._ends_at - monotonic()
                if remaining <= 0:
                    break
                await asyncio.wait(self.detached, timeout=remaining)
        finally:
            loop = asyncio.get_running_loop()
            loop.call_later(KEEP_SECONDS, self._pairs.close, self.invocation_id)

    @property
    def _is_client_waiting(self) -> bool:
        return self._is_complete and not self._has_length and not self._has_disconnected


async def respond(request: Request, response: Response) -> Response:
    """Has the worker's server send a response, and returns it when the invocation may end.

    Called by the handler of a trigger, whose return ends the invocation. Where the library does not take
    the response before that, this returns at once, and the library sends the response afterwards.

    Args:
        request: What the library gave to the handler.
        response: What the handler has to return.
    """
    exchange = request.scope.get(_EXCHANGE)
    if isinstance(exchange, Exchange) and hand_over(exchange.invocation_id, response):
        exchange.is_awaited = True
        await exchange.finish()
    return response
