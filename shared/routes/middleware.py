"""What surrounds every request: id, deadline, line in the log, CORS, and the answer to a bug."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.auth import Guard
from shared.context import USAGE_HEADERS
from shared.deadline import Deadline
from shared.errors import (
    BUG,
    NotConfigured,
    ShuttingDown,
)
from shared.routes.admission import Admission
from shared.routes.errors import error_response, internal_error_response
from shared.routes.exchange import Exchange
from shared.routes.slow_clients import GRACE_SECONDS, BoundedReceive, BoundedSend
from shared.settings import Settings
from shared.timing import BODY_SECONDS

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Gives each request an id and a deadline, logs one line, and answers for bugs.

    The line holds nothing that the caller wrote but the request id: the route is the template, never
    the path or the query.

    Args:
        app: What answers.
        deadline_seconds: Budget of one request.
        body_seconds: How long a client may send nothing of its body.
        send_grace_seconds: How much longer a client may take to read its answer.
        probe_path: Where requests never wait for others that came before them.
    """

    def __init__(
        self,
        app: ASGIApp,
        deadline_seconds: float,
        body_seconds: float = BODY_SECONDS,
        send_grace_seconds: float = GRACE_SECONDS,
        probe_path: str | None = None,
    ) -> None:
        self._app = app
        self._deadline_seconds = deadline_seconds
        self._body_seconds = body_seconds
        self._send_grace_seconds = send_grace_seconds
        self._probe_path = probe_path
        self._admission = Admission()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = Deadline.after(self._deadline_seconds)
        bounded_receive = BoundedReceive(receive, self._body_seconds)
        bounded_send = BoundedSend(send, deadline, self._send_grace_seconds)
        with Exchange(scope, bounded_receive, bounded_send, deadline) as exchange:
            try:
                try:
                    if scope["path"] != self._probe_path:
                        await self._admission.enter(exchange.receive_ahead)
                    await self._app(scope, exchange.receive, exchange.send)
                except ClientDisconnect:
                    if not exchange.is_shutting_down or exchange.has_started:
                        raise
                    await exchange.respond(error_response(Request(scope), ShuttingDown()))
            except ClientDisconnect:
                logger.debug("The client of request %s disconnected", exchange.request_id)
            except Exception:
                if exchange.has_given_up:
                    # Libraries wrap what `send` raises.
                    return
                logger.exception("Unhandled error in request %s", exchange.request_id)
                exchange.record.fail(BUG)
                if exchange.has_started:
                    raise
                await exchange.respond(internal_error_response(Request(scope)))


class AfterFirstAnswer:
    """Does something in a thread after the first answer, so that no request waits for it.

    Args:
        app: What answers.
        act: What to do, once.
    """

    def __init__(self, app: ASGIApp, act: Callable[[], object]) -> None:
        self._app = app
        self._act = act
        self._is_done = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        await self._app(scope, receive, send)
        if scope["type"] == "http" and not self._is_done:
            self._is_done = True
            asyncio.get_running_loop().run_in_executor(None, self._act)


class ConfigurationGate:
    """Answers 503 to everything but the open routes, because a setting is malformed.

    Args:
        app: What answers otherwise.
        settings: Which settings are malformed: at least one.
        guard: The guard that authenticates callers; strangers are told the settings' names.
        open_paths: Routes that work all the same, with what lies below them.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, guard: Guard, open_paths: Sequence[str]
    ) -> None:
        self._app = app
        self._settings = settings
        self._guard = guard
        self._open_paths = tuple(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        settings = self._settings
        if scope["type"] != "http" or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        is_known = await self._guard.knows(request.headers.get)
        problems = settings.problems if is_known else settings.public_problems
        await error_response(request, NotConfigured(" ".join(problems)))(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return any(path == each or path.startswith(f"{each}/") for each in self._open_paths)


class Cors:
    """Cross-origin answers for browsers, with more origins allowed at the MCP endpoint.

    Args:
        app: What answers.
        origins: Origins allowed everywhere; ``*`` allows all, without credentials.
        mcp_origins: Origins allowed at the MCP endpoint besides.
        mcp_path: Where that is.
        public_paths: Paths that any origin may read, without credentials.
    """

    def __init__(
        self,
        app: ASGIApp,
        origins: Sequence[str],
        mcp_origins: Sequence[str],
        mcp_path: str,
        public_paths: Sequence[str] = (),
    ) -> None:
        self._everywhere = _cors(app, origins)
        self._by_path = {path: _cors(app, ["*"]) for path in public_paths}
        self._by_path[mcp_path] = _cors(app, (*origins, *mcp_origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        path = scope["path"] if scope["type"] == "http" else ""
        await self._by_path.get(path, self._everywhere)(scope, receive, send)


def _cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=["*"] if "*" in origins else list(origins),
        allow_credentials="*" not in origins,
        allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE"],
        allow_headers=["*"],
        expose_headers=[
            "X-Request-Id",
            "X-Provider",
            "Retry-After",
            "Retry-After-Ms",
            "X-Should-Retry",
            "OpenAI-Processing-Ms",
            "Location",
            "Content-Disposition",
            "Content-Range",
            "ETag",
            "WWW-Authenticate",
            "X-Media-Id",
            *USAGE_HEADERS,
        ],
    )
