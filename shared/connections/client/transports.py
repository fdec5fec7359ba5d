"""All that touches the MCP SDK's client: importing this module imports the SDK.

`SessionCache` imports it on first use, off the event loop.
"""

import logging
import os
from collections.abc import AsyncIterator, Callable, Set
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import httpx2
from mcp import Client, ClientSession, MCPError, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
    UNSUPPORTED_PROTOCOL_VERSION,
    CallToolResult,
    DiscoverResult,
    Implementation,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCResponse,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from shared import __version__
from shared.connections.client.answers import HttpTrace, Rate, SentErrors
from shared.connections.client.cleaning import clean
from shared.connections.client.http import MAX_ANSWER_BYTES, SseAuth, TokenAuth, open_http
from shared.connections.client.incoming import clean_result
from shared.connections.client.portions import Portions
from shared.connections.client.target import Target
from shared.connections.errors import (
    ConnectionTimeout,
    ServerRefused,
    ServerUnavailable,
    closed,
    refusal,
)
from shared.connections.records import Negotiated
from shared.errors import GatewayError

MAX_SSE_EVENT_BYTES = 1024 * 1024
"""Maximum bytes of an answer over SSE: a fixed limit of the SDK."""

MAX_MESSAGE_CHARS = 2000
MAX_PROGRESS_CHARS = 500
MESSAGES_AT_ONCE, MESSAGES_PER_SECOND = 100, 50.0
"""Maximum rate of progress notifications and requests that a session takes of a server."""

logger = logging.getLogger(__name__)

# The SDK logs what servers send, and whole tracebacks where they break off.
logging.getLogger("mcp.client").setLevel(logging.CRITICAL)
logging.getLogger("client").setLevel(logging.CRITICAL)

_SENT = object()
"""The data of errors that the server sent, in place of its own."""

_REFUSED_REQUESTS = (
    "Sampling not supported",
    "Elicitation not supported",
    "List roots not supported",
)
"""What the SDK's client says to a server that asks for input in the course of a request."""

_CLIENT = Implementation(name="openai-mcp-functions", version=__version__)


@asynccontextmanager
async def open_mcp(target: Target, retire: Callable[[], None]) -> AsyncIterator[Client]:
    """Connects to a server and agrees on a revision of the protocol.

    Args:
        target: The server.
        retire: Called when no further operation can succeed, since the server has ended the stream of
            its messages or the SDK has given up sending.

    Raises:
        Exception: Whatever the SDK raises; `translated` turns it into an error of this app.
    """
    async with AsyncExitStack() as stack:
        mode, discovered = _mode(target)
        errors = SentErrors()
        client = await stack.enter_async_context(
            Client(
                _watched(
                    await _transport(target, stack, retire, errors),
                    retire,
                    None if target.transport == "stdio" else errors,
                ),
                mode=mode,
                prior_discover=discovered,
                client_info=_CLIENT,
                cache=None,
            )
        )
        # The SDK would compile and run the server's schema on the event loop: a pattern, or references
        # to references, can keep that from everybody else for days. Nothing here relies on the form.
        client.session.validate_tool_result = _accept  # type: ignore[method-assign]
        client.session._dispatcher = Portions(
            client.session._dispatcher, partial(_keep_tools, client.session)
        )
        yield client


def _keep_tools(session: ClientSession, names: Set[str]) -> None:
    """Has the SDK forget all other tools, as it does after a list that comes at once."""
    for known in (session._x_mcp_header_maps, session._tool_output_schemas):
        for name in known.keys() - names:
            del known[name]


async def _accept(name: str, result: CallToolResult) -> None:
    """Takes any result of a tool, whatever output schema the server declares."""


@asynccontextmanager
async def _watched(
    transport: Any, retire: Callable[[], None], errors: SentErrors | None
) -> AsyncIterator[Any]:
    async with transport as (incoming, outgoing):
        yield _Incoming(incoming, retire, errors), outgoing


class _Incoming:
    """A stream of cleaned messages that says when it has ended; all else is the stream's own.

    Notifications are left out but for progress, and progress and requests of the server's where they
    come faster than anybody needs them: the SDK starts tasks for each.

    Args:
        stream: The stream of the SDK's transport.
        note_end: Called when it has ended.
        errors: Has the errors that the server sent; None where the SDK's transport makes none.
    """

    def __init__(
        self, stream: Any, note_end: Callable[[], None], errors: SentErrors | None
    ) -> None:
        self._errors = errors
        self._stream = stream
        self._note_end = note_end
        self._rate = Rate(MESSAGES_AT_ONCE, MESSAGES_PER_SECOND)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> "_Incoming":
        return self

    async def __anext__(self) -> Any:
        while True:
            try:
                item = await self._stream.__anext__()
            except StopAsyncIteration:
                self._note_end()
                raise
            if await self._clean(item):
                return item

    async def _clean(self, item: Any) -> bool:
        """Cuts and cleans a message; returns False for one to leave out."""
        message = getattr(item, "message", None)
        if isinstance(message, JSONRPCResponse):
            message.result = await clean_result(message.result)
            return True
        if isinstance(message, JSONRPCError):
            error = message.error
            is_sent = self._errors is None or self._errors.has(error.message)
            error.message = clean(error.message, MAX_MESSAGE_CHARS)
            if error.code != UNSUPPORTED_PROTOCOL_VERSION:
                error.data = _SENT if is_sent else None
            return True
        if isinstance(message, JSONRPCNotification):
            if message.method != "notifications/progress" or not message.params:
                return False
            text = message.params.get("message")
            if isinstance(text, str):
                message.params["message"] = clean(text, MAX_PROGRESS_CHARS)
        return message is not None and self._rate.take()

    async def __aenter__(self) -> "_Incoming":
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stream.__aexit__(*error)


def negotiated(client: Client) -> Negotiated:
    """Returns what the server said of itself, to be kept."""
    result = client.session.discover_result
    return Negotiated(
        protocol_version=client.protocol_version,
        discover=result
        and result.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude={"meta", "instructions"}
        ),
    )


def _mode(target: Target) -> tuple[str, DiscoverResult | None]:
    if target.transport == "sse":
        return "legacy", None
    known = target.negotiated
    if known is None:
        return "auto", None
    if known.discover is None or known.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return "legacy", None
    return known.protocol_version, DiscoverResult.model_validate(known.discover)


async def _transport(
    target: Target, stack: AsyncExitStack, retire: Callable[[], None], errors: SentErrors
) -> Any:
    if target.transport == "stdio":
        command, *arguments = target.argv
        # What a server writes to stderr may hold anything, and would end up in our log.
        silence = stack.enter_context(open(os.devnull, "w"))  # noqa: ASYNC230, SIM115
        return stdio_client(StdioServerParameters(command=command, args=arguments), silence)
    url = str(target.url)
    if target.transport == "sse":
        sse_auth = SseAuth(target.tokens, httpx2.URL(url), retire)
        client = open_http(target, sse_auth, MAX_SSE_EVENT_BYTES, errors)
        return sse_client(url, httpx_client_factory=lambda *_, **__: client)
    auth = TokenAuth(target.tokens, httpx2.URL(url))
    client = await stack.enter_async_context(open_http(target, auth, MAX_ANSWER_BYTES, errors))
    return streamable_http_client(url, http_client=client, max_sse_event_size=None)


def translated(error: BaseException, trace: HttpTrace) -> Exception:
    """Returns this app's error for what the SDK raised or the trace noted."""
    causes = [cause for cause in (trace.failure, *_leaves(error)) if cause is not None]
    for cause in causes:
        if isinstance(cause, GatewayError):
            return cause
    if trace.status in (401, 403):
        return refusal(trace.status)
    first = causes[0]
    if isinstance(first, httpx2.HTTPStatusError) or trace.status == 405:
        return ServerUnavailable(
            f"The MCP server answered with status {trace.status}. Check its URL and the transport."
        )
    if isinstance(first, MCPError):
        return _from_protocol(first, trace)
    if isinstance(first, httpx2.ConnectError | httpx2.ConnectTimeout | OSError):
        return ServerUnavailable("The MCP server cannot be reached. Check its address.")
    if isinstance(first, httpx2.DecodingError):
        return ServerUnavailable("The MCP server compressed its answer without being asked to.")
    if isinstance(first, httpx2.HTTPError):
        return ServerUnavailable("The MCP server dropped the connection. Try again.")
    # Without its text, which may quote what the server sent; but a bug of ours would end here as well.
    logger.warning("An MCP session failed with %s.", type(first).__name__)
    return ServerUnavailable("The MCP server does not follow the protocol.")


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _from_protocol(error: MCPError, trace: HttpTrace) -> Exception:
    is_sent = error.data is _SENT or error.code == UNSUPPORTED_PROTOCOL_VERSION
    if error.code == CONNECTION_CLOSED and not is_sent:
        return closed()
    if error.code == REQUEST_TIMEOUT and not is_sent:
        return ConnectionTimeout("The MCP server did not answer in time.")
    if trace.status is not None and trace.status >= 500:
        return refusal(trace.status)
    if is_sent:
        return ServerRefused(f"The MCP server says: {clean(error.message, MAX_MESSAGE_CHARS)}")
    if error.message in _REFUSED_REQUESTS:
        return ServerRefused(
            "The MCP server asks for input that this app does not give to servers."
        )
    if trace.status is not None and trace.status >= 400:
        return ServerRefused(
            f"The MCP server refused the request with status {trace.status}. "
            "Check its URL and the transport."
        )
    # The SDK's words may quote what was not sent as an error.
    return ServerUnavailable(
        "The MCP server's answer does not follow the protocol. Check its URL and the transport."
    )


def has_lost_session(error: BaseException, trace: HttpTrace, client: Client) -> bool:
    """Whether the server refused a request unprocessed, because it does not know our session any more.

    That is so when it has restarted, or speaks another revision of the protocol now.
    """
    leaf = _leaves(error)[0]
    if not isinstance(leaf, MCPError):
        return False
    if leaf.code == UNSUPPORTED_PROTOCOL_VERSION:
        return True
    is_modern = client.session.discover_result is not None
    if is_modern and leaf.code in (METHOD_NOT_FOUND, INVALID_PARAMS):
        return False
    return trace.status in (400, 404)


def has_dropped(error: BaseException, trace: HttpTrace) -> bool:
    """Returns whether the connection broke, so that the request may have been processed."""
    leaf = _leaves(error)[0]
    if isinstance(leaf, MCPError) and leaf.code == CONNECTION_CLOSED and trace.failure is None:
        # Servers send errors of this code, too.
        return leaf.data is not _SENT
    return isinstance(trace.failure, httpx2.ReadError | httpx2.RemoteProtocolError)
