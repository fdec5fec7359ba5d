"""One request and its answer: what inner layers need of it, and its line in the log."""

import json
import logging
import re
from contextlib import ExitStack
from random import getrandbits
from time import monotonic
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Scope

from shared.asgi import wait_for_ever
from shared.context import CallContext
from shared.deadline import Deadline
from shared.disconnect import SHUTDOWN_REASON
from shared.errors import (
    FIRST_CLIENT_ERROR,
    FIRST_SERVER_ERROR,
    DeadlineExceeded,
    Failure,
    failure_of,
)
from shared.routes.openai_errors import speaks_openai
from shared.routes.slow_clients import BoundedReceive, BoundedSend
from shared.telemetry import RequestRecord, level_of, recording

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "x-request-id"
PROCESSING_HEADER = "openai-processing-ms"
"""How long an answer under `/v1` took: the provider's figure, where it gives one."""
CLIENT_CLOSED_REQUEST = 499
"""Logged as the status where the client disconnected before the answer: nginx's convention."""
SLOW_CLIENT = Failure(DeadlineExceeded.code, "client_error")
"""What the log says of a client that did not read its answer."""

_REQUEST_ID_NAME = REQUEST_ID_HEADER.encode()
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Exchange:
    """One request and what becomes of it, for the log.

    Inner layers get HEAD as GET; its answer is sent without the body (RFC 9110, section 9.3.2).

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
        self, scope: Scope, receive: BoundedReceive, send: BoundedSend, deadline: Deadline
    ) -> None:
        self.scope = scope
        self.request_id = _request_id(scope)
        self.record = RequestRecord(self.request_id)
        self._receive = receive
        self._send = send
        self._started = monotonic()
        self._status: int | None = None
        self._method: str = scope["method"]
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
        if self._is_head:
            scope["method"] = "GET"
            # What is expensive to read need not be read.
            self._state["is_head"] = True

    @property
    def _is_head(self) -> bool:
        return self._method == "HEAD"

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
        return self._noting(await self._receive())

    async def receive_ahead(self) -> Message:
        """Receives like `receive`, for who waits for a disconnect before the request begins."""
        if any(name == b"expect" for name, _ in self.scope["headers"]):
            # Servers ask for the body when one receives, and the caller is not known yet.
            return await wait_for_ever()
        return self._noting(await self._receive.receive_ahead())

    def _noting(self, message: Message) -> Message:
        if message.get("reason") == SHUTDOWN_REASON:
            self._state["is_shutting_down"] = True
        return message

    async def send(self, message: Message) -> None:
        """Sends, with the request id as a header, notes the status, and ends the limit of the body."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._receive.end_limit()
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID_HEADER] = self.request_id
            if speaks_openai(self.scope["path"]):
                headers.setdefault(PROCESSING_HEADER, str(self._milliseconds()))
            if isinstance(call := self._state.get("call"), CallContext):
                headers.update(call.usage.answer_headers())
        elif self._is_head and "body" in message:
            message = {**message, "body": b""}
        await self._send(message)

    async def respond(self, response: Response) -> None:
        """Sends a response of this layer's own."""
        await response(self.scope, self.receive, self.send)

    def __enter__(self) -> "Exchange":
        """Makes its record the block's."""
        self._recording = recording(self.record)
        self._recording.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Writes the log, and releases what the request held."""
        self._recording.__exit__(None, None, None)
        # Outer layers get the scope back as they gave it.
        self.scope["method"] = self._method
        self._at_end.close()
        self.log()
        # The server's side of it holds the scope: nobody but a search for garbage would find that.
        del self._state["send"]

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

    def _milliseconds(self, places: int | None = None) -> float:
        return round((monotonic() - self._started) * 1000, places)

    def _line(self, status: int) -> dict[str, Any]:
        principal = self._state.get("principal")
        line = {
            "request_id": self.request_id,
            "method": self._method,
            "route": getattr(self.scope.get("route"), "path", None),
            "status": status,
            "duration_ms": self._milliseconds(1),
            "principal": principal.name if principal else None,
        }
        if principal and principal.spoken_for_by:
            line["spoken_for_by"] = principal.spoken_for_by
        if principal and principal.token_id:
            line["token_id"] = principal.token_id
        return line


def _request_id(scope: Scope) -> str:
    # Servers give the names of headers in lower case (ASGI), and texts in Latin-1.
    given = next((value for name, value in scope["headers"] if name == _REQUEST_ID_NAME), b"")
    text = given.decode("latin-1")
    # An id is no secret, and a random number of the system takes several times as long.
    return text if _REQUEST_ID.fullmatch(text) else f"{getrandbits(128):032x}"
