"""The HTTP server of the Functions worker, with two gaps of the worker's library closed.

The host announces each request as an invocation and forwards it to this server, where the library pairs
the two by an id: `azure_functions_runtime` from Python 3.13 on, `azure_functions_worker` before. The
library's route does not match every path, and its record of each pair is never dropped.

Everything here looks the library's names up and does nothing where they are missing, so that another
version of it works as it is.
"""

import asyncio
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from inspect import signature
from time import monotonic
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

PATIENCE_SECONDS = 30.0
"""How long an invocation waits for its request, and a request for its invocation."""
LOOK_SECONDS = 5.0

_LIBRARIES = ("azure_functions_runtime.http_v2", "azure_functions_worker.http_v2")
_INVOCATION_ID = "x-ms-invocation-id"
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
        super().__init__(**{"openapi_url": None, "lifespan": self._watch, **options})

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
        """Answers one request, then drops the library's record of it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if scope["type"] in ("http", "websocket"):
                self._pairs.close(Headers(scope=scope).get(_INVOCATION_ID, ""))

    @asynccontextmanager
    async def _watch(self, _: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._pairs.watch())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


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
            logger.warning("An invocation whose request did not come is ended")
            # No request: the library takes that for a failure of the invocation.
            reference.http_request = None
            # Its own record of that is dropped at the next look: until then it may be read.
            self._ended.add(invocation_id)


def _references() -> Iterator[dict[str, Any]]:
    """Yields the records of the worker's library, whichever is there."""
    for name in _LIBRARIES:
        coordinator = getattr(sys.modules.get(name), "http_coordinator", None)
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
