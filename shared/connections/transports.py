"""All that touches the MCP SDK's client: importing this module imports the SDK.

`SessionCache` imports it on first use, off the event loop.
"""

import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    CONNECTION_CLOSED,
    REQUEST_TIMEOUT,
    UNSUPPORTED_PROTOCOL_VERSION,
    DiscoverResult,
    Implementation,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from shared import __version__
from shared.connections.errors import (
    ConnectionTimeout,
    NotAuthorized,
    ServerRefused,
    ServerUnavailable,
)
from shared.connections.exchange import Exchange, current_exchange
from shared.connections.records import Negotiated
from shared.connections.targets import Target, TokenSource
from shared.errors import GatewayError
from shared.outbound import open_client

MAX_ANSWER_BYTES = 8 * 1024 * 1024
MAX_EVENT_BYTES = MAX_ANSWER_BYTES
_MAX_MESSAGE_CHARS = 2000

logger = logging.getLogger(__name__)

# The SDK logs what servers send, and whole tracebacks where they break off.
logging.getLogger("mcp.client").setLevel(logging.CRITICAL)

_CLIENT = Implementation(name="openai-mcp-functions", version=__version__)


@asynccontextmanager
async def open_mcp(target: Target, note_end: Callable[[], None]) -> AsyncIterator[Client]:
    """Connects to a server and agrees on a revision of the protocol.

    Args:
        target: The server.
        note_end: Called when the server ends the stream of its messages.

    Raises:
        Exception: Whatever the SDK raises; `translated` makes sense of it.
    """
    async with AsyncExitStack() as stack:
        mode, discovered = _mode(target)
        yield await stack.enter_async_context(
            Client(
                _watched(await _transport(target, stack), note_end),
                mode=mode,
                prior_discover=discovered,
                client_info=_CLIENT,
                cache=None,
            )
        )


@asynccontextmanager
async def _watched(transport: Any, note_end: Callable[[], None]) -> AsyncIterator[Any]:
    async with transport as (incoming, outgoing):
        yield _Incoming(incoming, note_end), outgoing


class _Incoming:
    """A stream of messages that says when it has ended; all else is the stream's own."""

    def __init__(self, stream: Any, note_end: Callable[[], None]) -> None:
        self._stream = stream
        self._note_end = note_end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> "_Incoming":
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except StopAsyncIteration:
            self._note_end()
            raise

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
        discover=result and result.model_dump(mode="json", by_alias=True, exclude_none=True),
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


async def _transport(target: Target, stack: AsyncExitStack) -> Any:
    if target.transport == "stdio":
        command, *arguments = target.argv
        # What a server writes to stderr may hold anything, and would end up in our log.
        silence = stack.enter_context(open(os.devnull, "w"))  # noqa: ASYNC230, SIM115
        return stdio_client(StdioServerParameters(command=command, args=arguments), silence)
    url = str(target.url)
    if target.transport == "sse":
        return sse_client(url, httpx_client_factory=lambda *_, **__: _http_client(target))
    client = await stack.enter_async_context(_http_client(target))
    return streamable_http_client(url, http_client=client, max_sse_event_size=MAX_EVENT_BYTES)


def _http_client(target: Target) -> httpx2.AsyncClient:
    return open_client(
        allow_private=target.allow_private,
        connect_timeout=target.connect_timeout,
        read_timeout=None,  # Every operation has a deadline of its own.
        auth=_TokenAuth(target.tokens, httpx2.URL(str(target.url))),
        max_body_bytes=MAX_ANSWER_BYTES,
        wrap=_NotingTransport,
    )


class _TokenAuth(httpx2.Auth):
    """Sends the token to the server's own origin, and asks for another one when it is refused."""

    def __init__(self, tokens: TokenSource, url: httpx2.URL) -> None:
        self._tokens = tokens
        self._origin = url.origin

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        if request.url.origin != self._origin:
            yield request
            return
        token = await self._token(None)
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401 and token is not None:
            fresh = await self._token(token)
            if fresh is not None and fresh != token:
                request.headers["Authorization"] = f"Bearer {fresh}"
                yield request

    async def _token(self, rejected: str | None) -> str | None:
        exchange = current_exchange.get()
        if exchange is not None and exchange.failure is not None:
            return None  # Nothing more is sent, so nobody need be asked for a token.
        try:
            return await self._tokens.token(rejected)
        except GatewayError as error:
            # Raised here it would end the session; noted, it keeps the request from being sent.
            _note(error)
            return None


def _note(error: Exception) -> None:
    exchange = current_exchange.get()
    if exchange is not None:
        exchange.fail(error)


class _NotingTransport(httpx2.AsyncBaseTransport):
    """Notes what goes wrong, and answers with 502 in its place."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = current_exchange.get()
        if exchange is not None and exchange.failure is not None:
            return httpx2.Response(502)
        try:
            response = await self._inner.handle_async_request(request)
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                response = await _read(response)
        except (httpx2.HTTPError, GatewayError) as error:
            _note(error)
            return httpx2.Response(502)
        if exchange is not None:
            exchange.status = response.status_code
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _read(response: httpx2.Response) -> httpx2.Response:
    try:
        body = await response.aread()
    finally:
        await response.aclose()
    return httpx2.Response(response.status_code, headers=response.headers, content=body)


def translated(error: BaseException, exchange: Exchange) -> Exception:
    """Returns the house's error for what the SDK raised, or noted."""
    causes = [cause for cause in (exchange.failure, *_leaves(error)) if cause is not None]
    for cause in causes:
        if isinstance(cause, GatewayError):
            return cause
    if exchange.status in (401, 403):
        return NotAuthorized(
            f"The server refused the connection's credentials, or that it has none, with status "
            f"{exchange.status}. Connect again with the auth_type that it wants and valid credentials."
        )
    first = causes[0]
    if isinstance(first, httpx2.HTTPStatusError) or exchange.status == 405:
        return ServerUnavailable(
            f"The MCP server answered with status {exchange.status}. Check its URL and the transport."
        )
    if isinstance(first, MCPError):
        return _from_protocol(first, exchange)
    if isinstance(first, httpx2.ConnectError | httpx2.ConnectTimeout | OSError):
        return ServerUnavailable("The MCP server cannot be reached. Check its address.")
    if isinstance(first, httpx2.HTTPError):
        return ServerUnavailable("The MCP server dropped the connection. Try again.")
    # Without its text, which may quote what the server sent; but a bug of ours would end here as well.
    logger.warning("An MCP session failed with %s.", type(first).__name__)
    return ServerUnavailable("The MCP server does not follow the protocol.")


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _from_protocol(error: MCPError, exchange: Exchange) -> Exception:
    if error.code == CONNECTION_CLOSED:
        return ServerUnavailable("The MCP server closed the connection. Try again.")
    if error.code == REQUEST_TIMEOUT:
        return ConnectionTimeout("The MCP server did not answer in time.")
    if exchange.status is not None and exchange.status >= 500:
        return ServerUnavailable(f"The MCP server failed with status {exchange.status}.")
    return ServerRefused(f"The MCP server says: {error.message[:_MAX_MESSAGE_CHARS]}")


def has_lost_session(error: BaseException, exchange: Exchange, client: Client) -> bool:
    """Whether the server refused a request unprocessed, because it does not know our session any more.

    That is so when it has restarted, or speaks another revision of the protocol now.
    """
    leaf = _leaves(error)[0]
    if not isinstance(leaf, MCPError):
        return False
    if leaf.code == UNSUPPORTED_PROTOCOL_VERSION:
        return True
    is_stateful = client.session.discover_result is None
    return is_stateful and exchange.status in (400, 404)


def has_dropped(error: BaseException, exchange: Exchange) -> bool:
    """Whether the connection broke, so that nobody knows whether the request was processed."""
    leaf = _leaves(error)[0]
    if isinstance(leaf, MCPError) and leaf.code == CONNECTION_CLOSED and exchange.failure is None:
        return True
    return isinstance(exchange.failure, httpx2.ReadError | httpx2.RemoteProtocolError)
