"""Makes connections, and deletes what is stored of one that fails."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from shared.addresses import endpoint
from shared.background import Background
from shared.connections.client.operations import Offer, list_all
from shared.connections.client.sessions import SessionCache
from shared.connections.config import ConnectionsConfig, OperatorServer
from shared.connections.credentials import Secrets
from shared.connections.errors import answered_within
from shared.connections.oauth.flow import OAuthFlow
from shared.connections.oauth.tokens import client_grant, fetch_tokens, with_tokens
from shared.connections.records import (
    CONNECTING_SECONDS,
    ConnectionRecord,
    OAuthClient,
    Stored,
    free_prefix,
    key_of,
    now,
    plain_prefix,
    prefix_of,
)
from shared.connections.requests import ConnectRequest, new_record, plain
from shared.connections.store import ConnectionStore
from shared.connections.targets import TargetResolver
from shared.deadline import time_limit
from shared.errors import Conflict, GatewayError, InvalidRequest
from shared.outbound import check_url
from shared.storage import owner_key

MAX_CONNECTIONS = 100
LIST_SECONDS = 30.0
_UNDO_SECONDS = 5.0


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
    """A connection that its user has to authorize.

    Attributes:
        record: The connection.
        url: The URL that the user has to open.
    """

    record: ConnectionRecord
    url: str = field(repr=False)


class Connector:
    """Makes connections of principals to MCP servers.

    Args:
        config: The settings of connections.
        store: Stores connections.
        flow: Sends users to authorization servers.
        targets: Finds the target of a stored connection.
        sessions: The live sessions of this instance.
        background: Deletes what a failed connect has stored, even when the caller is cancelled.
    """

    def __init__(
        self,
        config: ConnectionsConfig,
        store: ConnectionStore,
        flow: OAuthFlow,
        targets: TargetResolver,
        sessions: SessionCache,
        background: Background,
    ) -> None:
        self._config = config
        self._store = store
        self._flow = flow
        self._targets = targets
        self._sessions = sessions
        self._background = background

    async def connect(
        self, principal: str, request: ConnectRequest, callback_url: str
    ) -> Connected | AuthorizationNeeded:
        """Makes a connection; see `Connections.connect`."""
        owner = owner_key(principal)
        server = request.server
        if server is not None:
            request = request.for_server(self._per_user_server(server))
        self._check(request, callback_url)
        record, secrets = new_record(request)
        others = await self._make_room(owner)
        record.server = server
        if server is None:
            record.tool_prefix = self._free_prefix(record.name, others)
        else:
            record.tool_prefix = plain_prefix(server)
            await self._replace_attempts(owner, server, others)
        if request.auth_type == "oauth":
            async with answered_within(request.timeout):
                secrets = await self._prepare(request, callback_url, record, secrets)
            if request.grant == "authorization_code":
                return await self._begin(owner, record, secrets)
        return await self._open(owner, record, secrets)

    def _per_user_server(self, name: str) -> OperatorServer:
        server = self._config.operator_servers.get(name)
        if server is None or not server.is_per_user:
            raise InvalidRequest.for_field(
                "server", "MCP_SERVERS has no server of this name that each principal authorizes."
            )
        return server

    async def _replace_attempts(
        self, owner: str, server: str, others: Sequence[ConnectionRecord]
    ) -> None:
        """Deletes earlier attempts of the owner to authorize the server, unless one is connected."""
        for record in others:
            if record.server != server:
                continue
            if record.status == "connected":
                raise Conflict(
                    f"You are connected to '{server}' already. To authorize it again, end connection "
                    f"{record.id} with POST /mcp/disconnect first."
                )
            await self._undo(owner, record)

    def _check(self, request: ConnectRequest, callback_url: str) -> None:
        request.check(callback_url)
        if request.transport == "stdio":
            self._targets.argv(request.command_name)
            return
        for url in (request.mcp_url, request.oauth_auth_url, request.oauth_token_url):
            if url is not None:
                check_url(url, allow_private=self._config.allow_private)
        if request.mcp_url and endpoint(request.mcp_url) in map(endpoint, self._config.own_urls):
            # Calls over such a connection would not count as calls of tools that cost money.
            raise InvalidRequest.for_field(
                "mcp_url",
                "This is the address of this app itself; chats have its tools without a connection.",
            )

    async def _make_room(self, owner: str) -> Sequence[ConnectionRecord]:
        """Makes room for one more connection: deletes those that ended, and returns the others."""
        in_use = []
        for stored in await self._store.list(owner):
            if stored.record.is_abandoned:
                if await self._store.delete_abandoned(stored):
                    await self._store.forget_work(owner, stored.record)
            else:
                in_use.append(stored.record)
        if len(in_use) >= MAX_CONNECTIONS:
            raise _too_many()
        return in_use

    def _free_prefix(self, name: str, others: Sequence[ConnectionRecord]) -> str:
        """Returns a prefix for the tools of a new connection of that name."""
        operators = [plain_prefix(server) for server in self._config.operator_servers]
        return free_prefix(plain_prefix(name), [*operators, *map(prefix_of, others)])

    async def _prepare(
        self, request: ConnectRequest, callback_url: str, record: ConnectionRecord, secrets: Secrets
    ) -> Secrets:
        """Sets the record's OAuth client, and returns the secrets, with tokens if no user must agree."""
        record.oauth, secret = await self._oauth_client(request, callback_url)
        oauth = record.oauth
        secrets = secrets.model_copy(update={"client_secret": secret})
        if oauth.grant == "authorization_code":
            return secrets
        tokens = await fetch_tokens(
            oauth, secret, client_grant(oauth), allow_private=self._config.allow_private
        )
        oauth.renew_at = tokens.renew_at
        return with_tokens(secrets, tokens)

    async def _begin(
        self, owner: str, record: ConnectionRecord, secrets: Secrets
    ) -> AuthorizationNeeded:
        if record.oauth is None:
            raise ValueError("OAuth has not been prepared.")
        request = await self._flow.begin(owner, record.id, record.oauth)
        secrets.verifier = request.verifier
        record.status, record.pending = "authorizing", request.pending
        async with self._storing(owner, record, secrets):
            return AuthorizationNeeded(record, request.url)

    async def _open(self, owner: str, record: ConnectionRecord, secrets: Secrets) -> Connected:
        async with self._storing(owner, record, secrets) as stored:
            target = await self._targets.of(stored)
            offer = await self._sessions.run(
                target, list_all, timeout=LIST_SECONDS, is_repeatable=True
            )
            stored = await self._store.change(owner, record.id, _mark_connected)
            return Connected(stored.record, offer)

    @asynccontextmanager
    async def _storing(
        self, owner: str, record: ConnectionRecord, secrets: Secrets
    ) -> AsyncIterator[Stored]:
        """Stores a connection, and takes it back if the block fails or takes too long."""
        record.created_at = record.last_activity = now()
        try:
            # First, so that housekeeping finds what we leave behind if we die.
            await self._store.plan_work(owner, record, _abandoned_at(record))
            stored = await self._store.create(owner, record, secrets)
            yield stored
            # As late as can be: by now whoever began before us has been stored, too.
            await self._refuse_beyond_limit(stored)
        except BaseException:
            await self._undo(owner, record)
            raise
        if record.pending is None:
            await self._try(self._store.forget_work(owner, record))

    async def _refuse_beyond_limit(self, stored: Stored) -> None:
        """Refuses a connection that is one too many because others were made at the same time."""
        if await self._store.count(stored.owner) <= MAX_CONNECTIONS:
            return
        oldest = (await self._store.list(stored.owner))[:MAX_CONNECTIONS]
        if stored.record.id not in {one.record.id for one in oldest}:
            raise _too_many()

    async def _undo(self, owner: str, record: ConnectionRecord) -> None:
        key = key_of(owner, record.id)
        self._sessions.end(key)
        self._targets.forget(key)
        # What storage does not delete now counts as abandoned some minutes later.
        await self._try(self._store.delete(owner, record))

    async def _try(self, work: Coroutine[Any, Any, None]) -> None:
        """Does something in storage for a few seconds, though the call's own time may be over."""

        async def attempt() -> None:
            with suppress(GatewayError):
                async with time_limit(_UNDO_SECONDS):
                    await work

        await self._background.finish(attempt())

    async def _oauth_client(
        self, request: ConnectRequest, callback_url: str
    ) -> tuple[OAuthClient, str | None]:
        """Returns the OAuth client that is to get tokens, and its secret."""
        redirect_uri = request.oauth_redirect_uri or callback_url
        if request.oauth_token_url is None:
            sdk = await asyncio.to_thread(
                importlib.import_module, "shared.connections.oauth.discovery"
            )
            client: tuple[OAuthClient, str | None] = await sdk.discover_client(
                request,
                redirect_uri,
                self._config.client_metadata_url if redirect_uri == callback_url else None,
                allow_private=self._config.allow_private,
            )
            return client
        if request.oauth_client_id is None:
            raise InvalidRequest.for_field(
                "oauth_client_id", "Is needed where endpoints are given."
            )
        oauth = OAuthClient(
            grant=request.grant,
            client_id=request.oauth_client_id,
            authorization_endpoint=request.oauth_auth_url,
            token_endpoint=request.oauth_token_url,
            redirect_uri=redirect_uri,
            scopes=request.oauth_scopes,
        )
        return oauth, plain(request.oauth_client_secret)


def _abandoned_at(record: ConnectionRecord) -> datetime:
    """Returns when a connection that is still being made counts as abandoned."""
    if record.pending is not None:
        return record.pending.expires_at
    return record.created_at + timedelta(seconds=CONNECTING_SECONDS)


def _mark_connected(record: ConnectionRecord) -> None:
    record.status = "connected"
    record.work_due_at = None


def _too_many() -> InvalidRequest:
    return InvalidRequest(
        f"You have {MAX_CONNECTIONS} connections. End one with POST /mcp/disconnect first."
    )
