"""The HTTP server of the Functions worker, with three gaps of the worker's library closed.

The host announces each request as an invocation and forwards it to this server, where the library pairs
the two by an id: `azure_functions_runtime` from Python 3.13 on, `azure_functions_worker` before. The
library's route does not match every path, its record of each pair is never dropped, and it ends the
invocation before the response is sent.

The last loses logs: the host keeps a line of the log only if it names an invocation that has not ended.
So an invocation lasts here as long as its response and the detached work of its request (`respond`), and
what the tasks and threads of its request log meanwhile names it.

Everything here looks the library's names up and does nothing where they are missing, so that another
version of it works as it is.
"""

import asyncio
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from inspect import signature
from time import monotonic
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from shared.background import collect_detached

PATIENCE_SECONDS = 30.0
"""How long an invocation waits for its request, and a request for its invocation."""
LOOK_SECONDS = 5.0
MAX_SECONDS = 280.0
"""How long an invocation with detached work lasts: the shortest limit of a plan is five minutes."""
KEEP_SECONDS = 1.0
"""How long the library's record is kept after the response: the library sets the response once more."""

_LIBRARIES = ("azure_functions_runtime", "azure_functions_worker")
_INVOCATION_ID = "x-ms-invocation-id"
_TASK_ATTRIBUTE = "__azure_function_invocation_id__"
"""Where the worker's log handler looks first: https://github.com/Azure/azure-functions-python-worker,
`get_current_invocation_id`. Tasks inherit it from the task that starts them."""
_CONTEXT_VARIABLE = "invocation_id_cv"
"""Where it looks next, and in threads, which inherit the context and no attributes of tasks."""
_EXCHANGE = "functions_worker.exchange"
_CATCH_ALL = re.compile(r"/\{\w+:path\}")

logger = logging.getLogger(__name__)

EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])


class WorkerServer(FastAPI):
    """What the worker's library uses in place of `FastAPI`.

    Its own ``/openapi.json``, ``/docs`` and ``/redoc`` are gone: they would come before our functions of
    these names, whose invocations would then wait for their request for ever.

    Args:
        pairs: Ends and forgets what the library keeps.
        options: What the library asks of `FastAPI`.
    """

    def __init__(self, *, pairs: "Pairs | None" = None, **options: Any) -> None:
        self._pairs = pairs or Pairs()
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
        """Registers an endpoint; a catch-all route then takes every path and method.

        The library's ``{path:path}`` does not match line feeds: such a request would be answered with
        404, and its invocation would occupy the instance for ever.
        """
        register = super().api_route(path, *arguments, **options)

        def decorate(endpoint: EndpointT) -> EndpointT:
            if _CATCH_ALL.fullmatch(path) is None or len(signature(endpoint).parameters) != 1:
                return register(endpoint)
            self.router.routes.append(_EveryRequest(path, endpoint))
            return endpoint

        return decorate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, then ends its invocation and drops the library's record of it."""
        if scope["type"] not in ("http", "websocket"):
            await super().__call__(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self._pairs)
        scope[_EXCHANGE] = exchange
        with _logging_for(exchange.invocation_id), collect_detached() as exchange.detached:
            try:
                await super().__call__(scope, exchange.receive, exchange.send)
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

    def __init__(self, scope: Scope, receive: Receive, send: Send, pairs: "Pairs") -> None:
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
    if isinstance(exchange, Exchange) and _hand_over(exchange.invocation_id, response):
        exchange.is_awaited = True
        await exchange.finish()
    return response


class _EveryRequest(Route):
    """A route that matches every HTTP request."""

    def __init__(self, path: str, endpoint: Callable[..., Any]) -> None:
        super().__init__(path, endpoint)
        # Without any given, it would take GET only.
        self.methods = None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self.endpoint, "path_params": {}}


class Pairs:
    """The library's records of invocations and their requests.

    Args:
        patience_seconds: How long one side of a pair waits for the other.
    """

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience = patience_seconds
        self._alone_since: dict[str, float] = {}
        self._ended: set[str] = set()

    def close(self, invocation_id: str) -> None:
        """Drops the record of an answered request, and ends an invocation that did not get it."""
        for references in _references():
            reference = references.get(invocation_id)
            if reference is not None and _lacks_request(reference):
                self._end(invocation_id, reference)
            else:
                references.pop(invocation_id, None)

    async def watch(self) -> None:
        """Ends, until it is cancelled, what waits in vain."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self.end_unpaired()
            except Exception:
                logger.exception("Invocations without a request cannot be ended in this worker")
                return

    def end_unpaired(self) -> None:
        """Ends invocations whose request never came, and requests whose invocation never came.

        Such a request is one that the server itself refused before it was routed.
        """
        now = monotonic()
        alone: dict[str, float] = {}
        for references in _references():
            for invocation_id, reference in list(references.items()):
                if invocation_id in self._ended:
                    del references[invocation_id]
                elif _is_alone(reference):
                    alone[invocation_id] = self._alone_since.get(invocation_id, now)
        self._ended.clear()
        for references in _references():
            for invocation_id in alone.keys() & references.keys():
                if now - alone[invocation_id] >= self._patience:
                    del alone[invocation_id]
                    self._end(invocation_id, references[invocation_id])
        self._alone_since = alone

    def _end(self, invocation_id: str, reference: Any) -> None:
        if _lacks_invocation(reference):
            logger.warning("A request whose invocation did not come is answered with an error")
            # Raised by the library to whoever waits for a response.
            reference.http_response = TimeoutError("The invocation of this request did not come.")
        else:
            with _logging_for(invocation_id):
                logger.warning("An invocation whose request did not come is ended")
            # No request: the library takes that for a failure of the invocation.
            reference.http_request = None
            # Its own record of that is dropped at the next look: until then it may be read.
            self._ended.add(invocation_id)


@contextmanager
def _logging_for(invocation_id: str) -> Iterator[None]:
    """Makes the worker's log handler name an invocation in what the block and its tasks log."""
    task = asyncio.current_task()
    before = getattr(task, _TASK_ATTRIBUTE, None)
    libraries = (sys.modules.get(name) for name in _LIBRARIES)
    variables = [getattr(library, _CONTEXT_VARIABLE, None) for library in libraries]
    tokens = [
        (variable, variable.set(invocation_id))
        for variable in variables
        if isinstance(variable, ContextVar)
    ]
    # Tasks of the interpreter's own class take no attributes; those of the worker do.
    with suppress(AttributeError):
        setattr(task, _TASK_ATTRIBUTE, invocation_id)
    try:
        yield
    finally:
        with suppress(AttributeError):
            setattr(task, _TASK_ATTRIBUTE, before)
        for variable, token in tokens:
            variable.reset(token)


def _hand_over(invocation_id: str, response: Response) -> bool:
    """Gives a response to the library's server; returns whether that waits for it no more."""
    for references in _references():
        reference: Any = references.get(invocation_id)
        came = getattr(reference, "http_response_available_event", None)
        if isinstance(came, asyncio.Event) and hasattr(reference, "http_response"):
            reference.http_response = response
            return came.is_set()
    return False


def _references() -> Iterator[dict[str, Any]]:
    """Yields the records of the worker's library, whichever is there."""
    for name in _LIBRARIES:
        coordinator = getattr(sys.modules.get(f"{name}.http_v2"), "http_coordinator", None)
        references = getattr(coordinator, "_context_references", None)
        if isinstance(references, dict):
            yield references


def _is_alone(reference: Any) -> bool:
    return _lacks_request(reference) or _lacks_invocation(reference)


def _lacks_request(reference: Any) -> bool:
    came = getattr(reference, "http_request_available_event", None)
    return came is not None and not came.is_set()


def _lacks_invocation(reference: Any) -> bool:
    # The invocation takes the request away as soon as both are there.
    return getattr(reference, "http_request", None) is not None
