"""Finds the target of a session: a stored connection, or a server of the operator's."""

import contextlib
from collections.abc import Sequence
from time import monotonic

from shared.background import Background
from shared.connections.client.target import FixedToken, Target, TokenSource
from shared.connections.config import ConnectionsConfig, OperatorServer
from shared.connections.credentials import Secrets
from shared.connections.errors import NotAuthorized
from shared.connections.oauth.renewal import OAuthTokens
from shared.connections.records import Negotiated, Stored, key_of, with_query
from shared.connections.sources import how_to_authorize, is_offered
from shared.connections.store import Activity, ConnectionStore
from shared.errors import GatewayError, InvalidRequest
from shared.storage import ObjectChanged

TOKENS_IDLE_SECONDS = 3600.0
"""Seconds without use after which an instance drops the tokens of a connection, which are stored too."""

_OPERATOR_CONNECT_SECONDS = 30.0


class TargetResolver:
    """Finds the targets of connections.

    Args:
        config: The settings of connections.
        store: Stores connections.
        activity: Notes when connections are used.
        background: Completes renewals of tokens whose callers disconnect.
    """

    def __init__(
        self,
        config: ConnectionsConfig,
        store: ConnectionStore,
        activity: Activity,
        background: Background,
    ) -> None:
        self._config = config
        self._store = store
        self._activity = activity
        self._background = background
        self._tokens: dict[str, tuple[float, OAuthTokens]] = {}

    async def find(self, owner: str, connection_id: str) -> Target:
        """Returns a connection of the owner's or the operator's, and notes that it is used.

        Raises:
            NotFound: There is none.
            NotAuthorized: It waits for its user.
        """
        operator_server = self._config.operator_servers.get(connection_id)
        if operator_server is not None and operator_server.is_per_user:
            connection_id = await self._connection_to(owner, connection_id)
        elif operator_server is not None:
            # A session may have a state, which is no business of other principals.
            key = key_of(owner, connection_id)
            return _operator_target(key, operator_server, self._config.allow_private)
        stored = await self._store.read(owner, connection_id)
        if not is_offered(stored.record, self._config):
            raise NotAuthorized(
                "The operator has removed this server, or moved it. Disconnect from it."
            )
        if stored.record.status == "authorizing":
            raise NotAuthorized("The connection waits for its user: open its authorization_url.")
        if stored.record.status == "confirming":
            raise NotAuthorized(
                "The connection waits for being confirmed: send the characters that the browser was "
                "shown to POST /mcp/oauth/confirm."
            )
        await self._activity.note(stored)
        return await self.of(stored)

    async def _connection_to(self, owner: str, server: str) -> str:
        """Returns the id of the owner's connection to a server of the operator's."""
        found = [each for each in await self._store.list(owner) if each.record.server == server]
        if not found:
            raise NotAuthorized(how_to_authorize(server))
        return found[-1].record.id

    async def of(self, stored: Stored) -> Target:
        """Returns the target of a stored connection."""
        record = stored.record
        kept = await self._store.secrets(stored)

        async def remember(negotiated: Negotiated) -> None:
            if negotiated != record.negotiated:
                with contextlib.suppress(GatewayError, ObjectChanged):
                    await self._store.change(
                        stored.owner,
                        record.id,
                        lambda current: setattr(current, "negotiated", negotiated),
                    )

        return Target(
            key=stored.key,
            transport=record.transport,
            url=record.mcp_url and with_query(record.mcp_url, kept.url_query),
            argv=self.argv(record.command) if record.command else (),
            tokens=self._token_source(stored, kept),
            allow_private=self._config.allow_private,
            connect_timeout=record.timeout,
            negotiated=record.negotiated,
            remember=remember,
        )

    def _token_source(self, stored: Stored, kept: Secrets) -> TokenSource:
        if stored.record.auth_type == "oauth":
            return self._oauth_tokens(stored)
        return FixedToken(kept.bearer_token)

    def _oauth_tokens(self, stored: Stored) -> OAuthTokens:
        oldest = monotonic() - TOKENS_IDLE_SECONDS
        self._tokens = {key: entry for key, entry in self._tokens.items() if entry[0] > oldest}
        _, tokens = self._tokens.get(stored.key) or (
            0,
            OAuthTokens(
                self._store, self._config, self._background, stored.owner, stored.record.id
            ),
        )
        self._tokens[stored.key] = (monotonic(), tokens)
        return tokens

    def forget(self, key: str) -> None:
        """Drops the tokens of a connection that has ended."""
        self._tokens.pop(key, None)

    def argv(self, command: str) -> Sequence[str]:
        """Returns the argument vector of one of the operator's commands.

        Raises:
            InvalidRequest: There is no such command.
        """
        argv = self._config.stdio_commands.get(command)
        if not argv:
            names = ", ".join(self._config.stdio_commands) or "none; see MCP_STDIO_COMMANDS"
            raise InvalidRequest.for_field("command", f"Unknown. The commands are: {names}.")
        return argv


async def _remember_nothing(negotiated: Negotiated) -> None:
    """Stores nothing: the operator's servers have no record."""


def _operator_target(key: str, server: OperatorServer, allow_private: bool) -> Target:
    return Target(
        key=key,
        transport="http",
        url=server.url,
        argv=(),
        tokens=FixedToken(server.bearer_token),
        allow_private=allow_private,
        connect_timeout=_OPERATOR_CONNECT_SECONDS,
        negotiated=None,
        remember=_remember_nothing,
    )
