"""What surrounds every request: id, deadline, line in the log, CORS, HEAD, and the answer to a bug."""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import monotonic
from typing import Any
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.auth import Guard
from shared.context import USAGE_HEADERS, CallContext
from shared.deadline import Deadline
from shared.disconnect import SHUTDOWN_REASON
from shared.errors import (
    BUG,
    FIRST_CLIENT_ERROR,
    FIRST_SERVER_ERROR,
    DeadlineExceeded,
    Failure,
    NotConfigured,
    ShuttingDown,
    failure_of,
)
from shared.routes.errors import error_response, internal_error_response
from shared.routes.slow_clients import GRACE_SECONDS, BoundedSend
from shared.settings import Settings
from shared.telemetry import RequestRecord, level_of, recording

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "x-request-id"
CLIENT_CLOSED_REQUEST = 499
"""Logged as the status where the client disconnected before the answer: nginx's convention."""
SLOW_CLIENT = Failure(DeadlineExceeded.code, "client_error")
"""What the log says of a client that did not read its answer."""

_REQUEST_ID_NAME = REQUEST_ID_HEADER.encode()
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestMiddleware:
    """Gives each request an id and a deadline, logs one line, and answers for bugs.

    The line holds nothing that the caller wrote but the request id: the route is the template, never
    the path or the query.

    Args:
        app: What answers.
        deadline_seconds: Budget of one request.
        send_grace_seconds: How much longer a client may take to read its answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        deadline_seconds: float,
        send_grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._app = app
        self._deadline_seconds = deadline_seconds
        self._send_grace_seconds = send_grace_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = Deadline.after(self._deadline_seconds)
        bounded_send = BoundedSend(send, deadline, self._send_grace_seconds)
        exchange = _Exchange(scope, receive, bounded_send, deadline)
        try:
            with recording(exchange.record):
                await self._answer(exchange)
        finally:
            exchange.end()

    async def _answer(self, exchange: "_Exchange") -> None:
        try:
            await self._answer_until_shutdown(exchange)
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
            await exchange.respond(internal_error_response(Request(exchange.scope)))

    async def _answer_until_shutdown(self, exchange: "_Exchange") -> None:
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            if not exchange.is_shutting_down or exchange.has_started:
                raise
            await exchange.respond(error_response(Request(exchange.scope), ShuttingDown()))


class _Exchange:
    """One request and what becomes of it, for the log.

    Args:
        scope: The request; its ``state`` gets what inner layers need.
        receive: Receives from its client.
        send: Sends to its client.
        deadline: The budget of the request.

    Attributes:
        request_id: The caller's id for the request, or a new one.
        record: What is found out on the way.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: BoundedSend, deadline: Deadline
    ) -> None:
        self.scope = scope
        self.request_id = _request_id(scope)
        self.record = RequestRecord(self.request_id)
        self._receive = receive
        self._send = send
        self._started = monotonic()
        self._status: int | None = None
        self._at_end = ExitStack()
        # Extended in place, so that what inner layers put there is here for the log.
        self._state: dict[str, Any] = scope.setdefault("state", {})
        self._state |= {
            "request_id": self.request_id,
            "deadline": deadline,
            "send": send,
            "is_shutting_down": False,
            "at_end": self._at_end,
        }

    @property
    def has_started(self) -> bool:
        """Whether the client has been sent the beginning of an answer."""
        return self._status is not None

    @property
    def has_given_up(self) -> bool:
        """Whether the client did not read its answer in time."""
        return self._send.gave_up

    @property
    def is_shutting_down(self) -> bool:
        """Whether the host ended the request because it stops."""
        return bool(self._state["is_shutting_down"])

    async def receive(self) -> Message:
        """Receives, and notes a disconnect by which the host tells that it stops."""
        message = await self._receive()
        if message.get("reason") == SHUTDOWN_REASON:
            self._state["is_shutting_down"] = True
        return message

    async def send(self, message: Message) -> None:
        """Sends, with the request id as a header, and notes the status."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID_HEADER] = self.request_id
            if isinstance(call := self._state.get("call"), CallContext):
                headers.update(call.usage.answer_headers())
        await self._send(message)

    async def respond(self, response: Response) -> None:
        """Sends a response of this layer's own."""
        await response(self.scope, self.receive, self.send)

    def end(self) -> None:
        """Writes the log, and releases what the request has held."""
        self._at_end.close()
        self.log()

    def log(self) -> None:
        """Writes the line of the request, and one more where its client was too slow."""
        if self.has_given_up:
            logger.warning(
                "The client of request %s did not read its answer in time: cut off after %d bytes",
                self.request_id,
                self._send.bytes_sent,
            )
            self.record.fail(SLOW_CLIENT)
        status = CLIENT_CLOSED_REQUEST if self._status is None else self._status
        if status >= FIRST_CLIENT_ERROR and self.record.outcome == "ok":
            # Answers that are not ours, such as the MCP library's, say no more than their status.
            self.record.fail(failure_of(status))
        line = self._line(status) | self.record.fields()
        level = logging.WARNING if status >= FIRST_SERVER_ERROR else level_of(self.record.outcome)
        logger.log(level, "request %s", json.dumps(line))

    def _line(self, status: int) -> dict[str, Any]:
        principal = self._state.get("principal")
        line = {
            "request_id": self.request_id,
            "method": self.scope["method"],
            "route": getattr(self.scope.get("route"), "path", None),
            "status": status,
            "duration_ms": round((monotonic() - self._started) * 1000, 1),
            "principal": principal.name if principal else None,
        }
        if principal and principal.spoken_for_by:
            line["spoken_for_by"] = principal.spoken_for_by
        if principal and principal.token_id:
            line["token_id"] = principal.token_id
        return line


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


class HeadRequests:
    """Answers HEAD as GET, without the body (RFC 9110, section 9.3.2).

    Args:
        app: What answers GET.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if "body" in message else message)

        # In place and back again, because the log reads the scope that inner layers have extended.
        scope["method"] = "GET"
        # What is expensive to read need not be read.
        scope.setdefault("state", {})["is_head"] = True
        try:
            await self._app(scope, receive, send_without_body)
        finally:
            scope["method"] = "HEAD"


class ConfigurationGate:
    """Answers 503 to everything but the open routes while a setting is malformed.

    Args:
        app: What answers otherwise.
        settings: Which settings are malformed.
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
        if scope["type"] != "http" or not settings.problems or self._is_open(scope["path"]):
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
            "X-Provider",
            *USAGE_HEADERS,
        ],
    )


def _request_id(scope: Scope) -> str:
    # Servers give the names of headers in lower case (ASGI), and texts in Latin-1.
    given = next((value for name, value in scope["headers"] if name == _REQUEST_ID_NAME), b"")
    text = given.decode("latin-1")
    return text if _REQUEST_ID.fullmatch(text) else uuid4().hex
