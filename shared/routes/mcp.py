"""`POST /mcp`: the MCP endpoint."""

import re
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.types import Message, Receive, Scope, Send

from shared.auth import Guard
from shared.context import CallContext
from shared.errors import (
    ForbiddenOrigin,
    InvalidRequest,
    MalformedJson,
    MethodNotAllowed,
    NotAcceptable,
    UnsupportedMediaType,
)
from shared.mcp_server import (
    INVALID_REQUEST,
    MAX_MESSAGE_BYTES,
    PARSE_ERROR,
    McpEndpoint,
    complaint_about,
    protocol_error,
    read_kinds,
)
from shared.routes.body import read_body
from shared.routes.connection_query import named_connections
from shared.routes.guarded_route import (
    authorize,
    check_idempotency_key,
    request_deadline,
)
from shared.routes.routing import AsgiRoute, refusing
from shared.strict_json import read_json
from shared.telemetry import current_record

MCP_PATH = "/mcp"
IDEMPOTENCY_META = "idempotency-key"
"""Where the ``_meta`` of an MCP request has what HTTPS clients send as ``Idempotency-Key``."""

CONTENT_PARAMETER = "content"
"""The kinds of content that a client takes in results, by the protocol's names."""

DOCUMENT = "application/json"
STREAM = "text/event-stream"


_REFUSED_METHODS = ("GET", "HEAD", "DELETE")

_LOOPBACK_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")


def mcp_router(endpoint: McpEndpoint, guard: Guard, origins: Sequence[str]) -> APIRouter:
    """Returns the route of the MCP endpoint.

    Args:
        endpoint: What speaks MCP.
        guard: The guard that authenticates and authorizes.
        origins: Origins that a browser may come from besides our own, ``*`` for any; programs send
            none.
    """
    # GET would open a stream that never says anything, DELETE would end a session that is not there:
    # the server keeps no sessions, and the protocol's answer to both is then 405.
    methods = ["POST", *_REFUSED_METHODS]
    answer = refusing(*_REFUSED_METHODS)(_Mcp(endpoint, guard, frozenset(origins)))
    return APIRouter(
        routes=[AsgiRoute(MCP_PATH, answer, methods=methods, name="mcp", include_in_schema=False)]
    )


class _Mcp:
    """The application at the route."""

    def __init__(self, endpoint: McpEndpoint, guard: Guard, origins: frozenset[str]) -> None:
        self._endpoint = endpoint
        self._guard = guard
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        if request.method != "POST":
            raise MethodNotAllowed(request.method, ["POST"])
        _check_origin(request, self._origins)
        async with request_deadline(request).scope():
            await authorize(request, self._guard, "tools")
            body = await read_body(request, MAX_MESSAGE_BYTES)
        try:
            _check_headers(request)
            document = read_json(body)
            # Of a list the endpoint answers each message.
            complaint = None if isinstance(document, list) else complaint_about(document)
            if complaint is not None:
                raise InvalidRequest(complaint)
        except InvalidRequest as error:
            await _refusal(error)(scope, receive, send)
            return
        await self._endpoint.answer(body, document, scope, receive, _with_late_start(send))


def mcp_context(protocol_request: Any) -> CallContext:
    """Returns the context of one MCP request from the HTTP request that carried it.

    Raises:
        InvalidRequest: Its idempotency key, or the query ``content``, is not of its form.
    """
    request: Request = protocol_request.request
    key = (protocol_request.meta or {}).get(IDEMPOTENCY_META)
    content = _named_content(request)
    call = CallContext(
        request.state.principal,
        request_deadline(request),
        protocol_request.session.report_progress,
        None if key is None else check_idempotency_key(key),
        door="mcp",
        connections=named_connections(request),
        content=content,
        keeps_media=content is None or "image" in content,
    )
    # Headers tell of one call: a batch may hold several.
    request.state.call = None if hasattr(request.state, "call") else call
    return call


def _named_content(request: Request) -> frozenset[str] | None:
    """Returns the kinds of content in a request's query; None where it has none."""
    values = request.query_params.getlist(CONTENT_PARAMETER)
    return read_kinds(",".join(values)) if values else None


def _with_late_start(send: Send) -> Send:
    """Returns a ``send`` that holds the headers back until the first event.

    The SDK begins an event stream before the call that it answers; later the headers can tell what is
    left of limits, and where no event came before the result, what the call cost.
    """
    start: Message | None = None

    async def send_late(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
            return
        if start is not None:
            if not message.get("body") and message.get("more_body"):
                return
            held, start = start, None
            await send(held)
        await send(message)

    return send_late


def _refusal(error: InvalidRequest) -> Response:
    """Returns the answer to a request that holds no message, as JSON-RPC 2.0 has it (section 5.1)."""
    current_record().fail(error.failure)
    code = PARSE_ERROR if isinstance(error, MalformedJson) else INVALID_REQUEST
    # Where only its fields are wrong, an error's own status is 422, which the protocol does not have.
    status = 400 if error.status == InvalidRequest.status else error.status
    return protocol_error(code, error.detail, status=status)


def _check_headers(request: Request) -> None:
    """Refuses what the SDK would refuse without a word.

    Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server

    Raises:
        UnsupportedMediaType: The body is declared as something else than JSON.
        NotAcceptable: The client does not take both kinds of answer, or does not say so.
    """
    [sent] = _media_types(request, "content-type")[:1]
    if sent != DOCUMENT:
        raise UnsupportedMediaType(
            f"The header Content-Type must be {DOCUMENT}. Send 'Content-Type: {DOCUMENT}'."
        )
    accepted = {*_media_types(request, "accept")}
    if not all(
        accepted & {each, f"{each.partition('/')[0]}/*", "*/*"} for each in (DOCUMENT, STREAM)
    ):
        raise NotAcceptable(
            f"The header Accept must name {DOCUMENT} and {STREAM}. Send 'Accept: {DOCUMENT}, {STREAM}'."
        )


def _media_types(request: Request, header: str) -> list[str]:
    """Returns the media types in a header, without their parameters; at least an empty one."""
    listed = request.headers.get(header, "").split(",")
    return [each.partition(";")[0].strip().lower() for each in listed]


def _check_origin(request: Request, allowed: frozenset[str]) -> None:
    origin = request.headers.get("origin")
    if origin is None or "*" in allowed or origin in allowed or _is_same_origin(request, origin):
        return
    raise ForbiddenOrigin(
        "This origin may not call the MCP endpoint. Add it to MCP_ALLOWED_ORIGINS."
    )


def _is_same_origin(request: Request, origin: str) -> bool:
    # A page whose name was rebound to our address shows its own name as the host as well, so the same
    # host proves something only where that name needs a certificate or is nobody else's.
    host = request.headers.get("host", "")
    is_loopback = _LOOPBACK_HOST.fullmatch(host) is not None
    return origin == f"https://{host}" or (is_loopback and origin == f"http://{host}")
