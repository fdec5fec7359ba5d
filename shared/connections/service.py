"""The manager of connections: everything that `/mcp/…` does, free of HTTP."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from shared.connections.config import ConnectionsConfig
from shared.connections.credentials import Secrets, State, Vault
from shared.connections.directory import Targets
from shared.connections.oauth.flow import OAuthFlow, OAuthWish, save_tokens
from shared.connections.operations import (
    JsonObject,
    Listing,
    Offer,
    calling_tool,
    getting_prompt,
    list_all,
    list_prompts,
    list_resources,
    list_tools,
    reading_resource,
)
from shared.connections.records import (
    ConnectionRecord,
    ConnectionStore,
    Stored,
    key_of,
    new_id,
    now,
    owner_of,
)
from shared.connections.requests import ConnectRequest, plain
from shared.connections.sessions import SessionCache
from shared.connections.targets import Target
from shared.deadline import Deadline
from shared.errors import InvalidRequest, NotFound
from shared.outbound import check_url
from shared.tools.context import ReportProgress, discard_progress

if TYPE_CHECKING:
    from mcp import Client

T = TypeVar("T")

MAX_CONNECTIONS = 100
LIST_SECONDS = 30.0
CALL_SECONDS = 60.0
TOOLS_TTL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection that works.

    Attributes:
        record: The connection.
        offer: What its server offers.
    """

    record: ConnectionRecord
    offer: Offer


@dataclass(frozen=True, slots=True)
class AuthorizationNeeded:
    """A connection that waits for its user.

    Attributes:
        record: The connection.
        url: Where the user has to go.
    """

    record: ConnectionRecord
    url: str


class Connections:
    """Makes, uses and ends connections of principals to MCP servers.

    Args:
        config: What the operator decides.
        state: Returns the container of state: `Storage.state`.
        sessions: Live sessions of this instance.
    """

    def __init__(
        self,
        config: ConnectionsConfig,
        state: State,
        sessions: SessionCache | None = None,
    ) -> None:
        self.config = config
        self._store = ConnectionStore(state, Vault(config, state))
        self._flow = OAuthFlow(self._store, config)
        self._sessions = SessionCache() if sessions is None else sessions
        self._targets = Targets(config, self._store, self._flow)
        self._tools: dict[str, tuple[float, list[JsonObject]]] = {}

    @property
    def live_sessions(self) -> int:
        """How many sessions this instance has open."""
        return len(self._sessions)

    async def connect(
        self, principal: str, request: ConnectRequest, callback_url: str, deadline: Deadline
    ) -> Connected | AuthorizationNeeded:
        """Makes a connection.

        Args:
            principal: Whose it will be.
            request: What to connect to.
            callback_url: This app's own `GET /mcp/oauth/callback`.
            deadline: Until when.

        Raises:
            InvalidRequest: The request makes no sense, or the principal has too many connections.
            GatewayError: The server, or its authorization server, does not play along.
        """
        self._check(request)
        owner = owner_of(principal)
        if await self._store.count(owner) >= MAX_CONNECTIONS:
            raise InvalidRequest(
                f"You have {MAX_CONNECTIONS} connections. End one with POST /mcp/disconnect first."
            )
        record = _new_record(request)
        record.tool_prefix = await self._targets.free_prefix(owner, record.name)
        secrets = Secrets(bearer_token=plain(request.bearer_token))
        if request.auth_type != "oauth":
            return await self._open(await self._store.create(owner, record, secrets), deadline)
        async with deadline.limit():
            wish = self._wish(request, callback_url)
            record.oauth, secrets.client_secret = await self._flow.prepare(wish)
            if record.oauth.grant == "authorization_code":
                return await self._begin(owner, record, secrets)
            tokens = await self._flow.tokens_of_client(record.oauth, secrets.client_secret)
            stored = await self._store.create(owner, record, secrets)
            stored = await save_tokens(self._store, stored, secrets, tokens)
        return await self._open(stored, deadline)

    async def finish_authorization(
        self, state: str, code: str | None, issuer: str | None, error: str | None
    ) -> ConnectionRecord:
        """Ends an authorization with what a browser brought back; see `OAuthFlow.finish`."""
        return (await self._flow.finish(state, code, issuer, error)).record

    async def disconnect(self, principal: str, connection_id: str) -> None:
        """Ends a connection."""
        stored = await self._store.read(owner_of(principal), connection_id)
        await self._store.delete(stored)
        self._forget(stored.key)

    async def clients(self, principal: str) -> Sequence[ConnectionRecord]:
        """Returns the principal's connections, oldest first."""
        return [stored.record for stored in await self._store.list(owner_of(principal))]

    async def client(self, principal: str, connection_id: str) -> ConnectionRecord:
        """Returns one connection."""
        return (await self._store.read(owner_of(principal), connection_id)).record

    async def list_tools(self, principal: str, connection_id: str, deadline: Deadline) -> Listing:
        """Returns the tools of a connection's server."""
        return await self._read(principal, connection_id, list_tools, deadline)

    async def list_resources(
        self, principal: str, connection_id: str, deadline: Deadline
    ) -> Listing:
        """Returns the resources of a connection's server."""
        return await self._read(principal, connection_id, list_resources, deadline)

    async def list_prompts(self, principal: str, connection_id: str, deadline: Deadline) -> Listing:
        """Returns the prompts of a connection's server."""
        return await self._read(principal, connection_id, list_prompts, deadline)

    async def read_resource(
        self, principal: str, connection_id: str, uri: str, deadline: Deadline
    ) -> JsonObject:
        """Returns the contents of a resource."""
        return await self._read(principal, connection_id, reading_resource(uri), deadline)

    async def get_prompt(
        self,
        principal: str,
        connection_id: str,
        name: str,
        arguments: dict[str, str],
        deadline: Deadline,
    ) -> JsonObject:
        """Returns a prompt with its arguments filled in."""
        operation = getting_prompt(name, arguments)
        return await self._read(principal, connection_id, operation, deadline)

    async def call_tool(
        self,
        principal: str,
        connection_id: str,
        name: str,
        arguments: JsonObject,
        deadline: Deadline,
        *,
        timeout: float = CALL_SECONDS,  # noqa: ASYNC109 - the server's share of the deadline
        report_progress: ReportProgress = discard_progress,
    ) -> JsonObject:
        """Calls a tool and returns the protocol's result, which may be an error of the tool's."""
        target = await self._find(principal, connection_id)
        return await self._sessions.run(
            target,
            calling_tool(name, arguments, report_progress),
            deadline=deadline,
            timeout=timeout,
            is_repeatable=False,
        )

    async def cached_tools(
        self,
        principal: str,
        connection_id: str,
        deadline: Deadline,
        timeout: float,  # noqa: ASYNC109 - the server's share of the deadline
    ) -> list[JsonObject]:
        """Returns the tools of a connection's server as they were within the last minute."""
        key = key_of(owner_of(principal), connection_id)
        known = self._tools.get(key)
        if known is not None and known[0] > monotonic():
            return known[1]
        tools = await self._read(principal, connection_id, list_tools, deadline, timeout)
        self._tools = {key: entry for key, entry in self._tools.items() if entry[0] > monotonic()}
        self._tools[key] = (monotonic() + TOOLS_TTL_SECONDS, tools)
        return tools

    async def aclose(self) -> None:
        """Closes all live sessions, once tokens that are being fetched are stored."""
        await self._sessions.aclose()
        await self._targets.aclose()

    async def _read(
        self,
        principal: str,
        connection_id: str,
        operation: Callable[["Client"], Awaitable[T]],
        deadline: Deadline,
        timeout: float = LIST_SECONDS,  # noqa: ASYNC109 - the server's share of the deadline
    ) -> T:
        target = await self._find(principal, connection_id)
        return await self._sessions.run(
            target, operation, deadline=deadline, timeout=timeout, is_repeatable=True
        )

    async def _open(self, stored: Stored, deadline: Deadline) -> Connected:
        record = stored.record
        try:
            target = await self._targets.of(stored)
            offer = await self._sessions.run(
                target, list_all, deadline=deadline, timeout=LIST_SECONDS, is_repeatable=True
            )
            stored = await self._store.change(stored.owner, record.id, _mark_connected)
        except BaseException:
            self._forget(stored.key)
            await self._store.delete(stored)
            raise
        return Connected(stored.record, offer)

    async def _begin(
        self, owner: str, record: ConnectionRecord, secrets: Secrets
    ) -> AuthorizationNeeded:
        if record.oauth is None:
            raise ValueError("OAuth has not been prepared.")
        beginning = self._flow.begin(owner, record.id, record.oauth)
        secrets.verifier = beginning.verifier
        record.status, record.pending = "authorizing", beginning.pending
        await self._store.create(owner, record, secrets)
        return AuthorizationNeeded(record, beginning.url)

    async def _find(self, principal: str, connection_id: str) -> Target:
        owner = owner_of(principal)
        try:
            return await self._targets.find(owner, connection_id)
        except NotFound:
            # Another instance may have ended it.
            self._forget(key_of(owner, connection_id))
            raise

    def _forget(self, key: str) -> None:
        self._sessions.drop(key)
        self._targets.forget(key)
        self._tools.pop(key, None)

    def _check(self, request: ConnectRequest) -> None:
        request.check()
        if request.transport == "stdio":
            self._targets.argv(request.command_name)
            return
        for url in (request.mcp_url, request.oauth_auth_url, request.oauth_token_url):
            if url is not None:
                check_url(url, allow_private=self.config.allow_private)

    def _wish(self, request: ConnectRequest, callback_url: str) -> OAuthWish:
        redirect_uri = request.oauth_redirect_uri or callback_url
        is_ours = redirect_uri == callback_url
        return OAuthWish(
            server_url=request.mcp_url or "",
            grant=request.grant,
            redirect_uri=redirect_uri,
            client_id=request.oauth_client_id,
            client_secret=plain(request.oauth_client_secret),
            authorization_endpoint=request.oauth_auth_url,
            token_endpoint=request.oauth_token_url,
            scopes=tuple(request.oauth_scopes),
            client_metadata_url=self.config.client_metadata_url if is_ours else None,
        )


def _new_record(request: ConnectRequest) -> ConnectionRecord:
    is_command = request.transport == "stdio"
    moment = now()
    return ConnectionRecord(
        id=new_id(),
        name=request.name or _default_name(request),
        transport=request.transport,
        mcp_url=None if is_command else request.mcp_url,
        command=request.command_name if is_command else None,
        auth_type=request.auth_type,
        created_at=moment,
        last_activity=moment,
        timeout=request.timeout,
    )


def _default_name(request: ConnectRequest) -> str:
    if request.transport == "stdio":
        return request.command_name[:64]
    host = urlsplit(request.mcp_url or "").hostname or "server"
    return re.sub(r"^(www|mcp|api)\.", "", host)[:64]


def _mark_connected(record: ConnectionRecord) -> None:
    record.status = "connected"
