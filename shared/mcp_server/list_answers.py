"""Answers to ``tools/list`` that the SDK wrote before, sent again while the tools are the same.

The SDK builds, checks and writes a list from its models for each request, though it changes only with
the caller's connections. A request is answered from here only where the SDK has answered the same one,
its id aside, with the same tools. Everything else goes to the SDK, errors among it, so that no rule of
the protocol stands here.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from shared.asgi import AsgiApplication, replay
from shared.connections import ConnectionProblem
from shared.context import CallContext
from shared.disconnect import cancel_on_disconnect
from shared.errors import GatewayError
from shared.mcp_server.messages import meta_of
from shared.selection import ToolSelection, ToolSelector
from shared.tools import ToolSpec
from shared.tracing import TRACE_FIELDS

MAX_REQUEST_BYTES = 4096
"""Maximum bytes of a request that is answered from here; clients send some hundred."""

MAX_ANSWER_BYTES = 512 * 1024
MAX_KEPT_BYTES = 4 * 1024 * 1024
MAX_LISTS = 32
"""Maximum answers to one request: the lists of callers with other connections."""

_METHOD = "tools/list"
_SELECTION = "tool_selection"
_PLAIN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_HEADERS = frozenset({b"accept", b"content-type", b"last-event-id"})
_PROTOCOL_HEADERS = b"mcp-"
_EVENT = b"event: message\r\ndata: "


def selection_of(request: Request | None) -> ToolSelection | None:
    """Returns the tools that were selected for a request before its handler was asked; None for none."""
    return None if request is None else getattr(request.state, _SELECTION, None)


def note_selection(request: Request | None, selection: ToolSelection) -> None:
    """Notes which tools the answer to a request lists."""
    if request is not None:
        setattr(request.state, _SELECTION, selection)


class ListAnswers:
    """Keeps what the SDK has answered to ``tools/list``.

    Args:
        selector: Selects the tools that a caller has.
        make_context: Makes the context of one request of the protocol.
    """

    def __init__(self, selector: ToolSelector, make_context: Callable[[Any], CallContext]) -> None:
        self._selector = selector
        self._make_context = make_context
        self._kept: OrderedDict[bytes, list[_Answer]] = OrderedDict()
        self._size = 0

    async def answer(
        self,
        asked: "ListRequest",
        body: bytes,
        app: AsgiApplication,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answers a request for the list.

        Args:
            asked: The request.
            body: Its whole body.
            app: The SDK's application.
            scope: Of the request.
            receive: Of the request; its body has been read.
            send: Of the request.

        Raises:
            ClientDisconnect: The client has disconnected.
        """
        request = Request(scope)
        kept = self._kept.get(asked.digest, ())
        if kept and await self._select(asked, request, receive):
            selection = selection_of(request)
            for answer in kept:
                if selection is not None and answer.is_of(selection):
                    self._kept.move_to_end(asked.digest)
                    await answer.send(asked.id, send)
                    return
        copy = _Copy(send)
        await app(scope, replay(body, receive), copy)
        selection = selection_of(request)
        if selection is not None and (written := copy.answer(asked.id, selection)):
            self._keep(asked.digest, written)

    async def _select(self, asked: "ListRequest", request: Request, receive: Receive) -> bool:
        """Selects the caller's tools; returns False where that fails, which the SDK has words for."""
        try:
            context = self._make_context(_ProtocolRequest(request, asked.meta))
            async with context.scope(), cancel_on_disconnect(receive):
                selection = await self._selector.for_client(context)
        except GatewayError:
            return False
        note_selection(request, selection)
        return True

    def _keep(self, digest: bytes, answer: "_Answer") -> None:
        kept = self._kept.setdefault(digest, [])
        self._kept.move_to_end(digest)
        kept.append(answer)
        self._size += answer.size
        if len(kept) > MAX_LISTS:
            self._size -= kept.pop(0).size
        while self._size > MAX_KEPT_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._size -= sum(each.size for each in dropped)


@dataclass(frozen=True, slots=True)
class ListRequest:
    """A request for the list of tools.

    Attributes:
        id: Its id as JSON.
        digest: Stands for all else of it that the answer may depend on.
        meta: Its ``_meta``.
    """

    id: bytes
    digest: bytes
    meta: dict[str, Any]


def read_list_request(scope: Scope, body: bytes, message: Any) -> ListRequest | None:
    """Returns a request for the list; None for all else, and for what is better left to the SDK.

    Args:
        scope: Of the request.
        body: Its whole body.
        message: What the body holds.
    """
    if not isinstance(message, dict) or message.get("method") != _METHOD:
        return None
    if len(body) > MAX_REQUEST_BYTES:
        return None
    rest = {**message}
    id_ = rest.pop("id", None)
    if type(id_) is not int and not (isinstance(id_, str) and _PLAIN_ID.fullmatch(id_)):
        return None
    meta = {**meta_of(message)}
    if not TRACE_FIELDS.isdisjoint(meta):
        return None
    if isinstance(meta.get("progressToken"), str) or type(meta.get("progressToken")) is int:
        # Another in each request of some clients; a list has no progress.
        del meta["progressToken"]
        rest["params"] = {**rest["params"], "_meta": meta}
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if name in _HEADERS or name.startswith(_PROTOCOL_HEADERS)
    ]
    digest = sha256(f"{headers} {json.dumps(rest)}".encode()).digest()
    return ListRequest(json.dumps(id_).encode(), digest, meta)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer without the id of its request.

    Attributes:
        specs: The tools that it lists.
        problems: The problems that it tells of.
        start: The status and headers.
        head: The bytes before the id.
        tail: The bytes after the id.
    """

    specs: Sequence[ToolSpec]
    problems: Sequence[ConnectionProblem]
    start: Message
    head: bytes
    tail: bytes

    @property
    def size(self) -> int:
        """Bytes that it takes, roughly: the tools themselves take as many as their text."""
        return 2 * len(self.tail)

    def is_of(self, selection: ToolSelection) -> bool:
        """Returns whether the answer lists these tools, and tells of these problems."""
        # Mostly the same objects, which are equal at a glance.
        return self.specs == selection.specs and self.problems == [*selection.problems]

    async def send(self, id_: bytes, send: Send) -> None:
        """Sends it as the answer to a request of that id."""
        body = b"".join((self.head, id_, self.tail))
        length = str(len(body)).encode()
        headers = [
            (name, length if name.lower() == b"content-length" else value)
            for name, value in self.start["headers"]
        ]
        await send({**self.start, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class _Copy:
    """A ``send`` that keeps what it sends.

    Args:
        send: Sends it.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""
        self._is_whole = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif len(self._body) <= MAX_ANSWER_BYTES:
            self._body += message.get("body", b"")
            self._is_whole = not message.get("more_body", False)
        await self._send(message)

    def answer(self, id_: bytes, selection: ToolSelection) -> _Answer | None:
        """Returns what was sent as an answer to keep; None where it is anything but a whole list."""
        start, body = self._start, self._body
        if start is None or start["status"] != 200 or not self._is_whole:
            return None
        begin, end = b'{"jsonrpc":"2.0","id":', b',"result":'
        head, found, tail = body.partition(begin + id_ + end)
        if not found or head not in (b"", _EVENT) or len(body) > MAX_ANSWER_BYTES:
            return None
        specs, problems = selection.specs, [*selection.problems]
        return _Answer(specs, problems, start, head + begin, end + tail)


class _NoProgress:
    """The session of a list, which has no progress."""

    async def report_progress(
        self, progress: float, total: float | None, message: str | None
    ) -> None:
        """Tells nobody."""


@dataclass(frozen=True, slots=True)
class _ProtocolRequest:
    """What contexts are made of, in place of the SDK's own."""

    request: Request
    meta: dict[str, Any]
    session: _NoProgress = field(default_factory=_NoProgress)
