"""The manager of connections: what the routes under `/mcp/` do, free of HTTP."""

from collections.abc import Sequence
from typing import TypeVar

from shared.background import Background
from shared.connections.client.operations import (
    Completion,
    JsonObject,
    Listing,
    Reference,
    calling_tool,
    completing,
    getting_prompt,
    list_prompts,
    list_resources,
    list_templates,
    list_tools,
    reading_resource,
)
from shared.connections.client.sessions import Operation, SessionCache
from shared.connections.client.target import Target
from shared.connections.config import ConnectionsConfig
from shared.connections.connecting import (
    LIST_SECONDS,
    AuthorizationNeeded,
    Connected,
    Connector,
)
from shared.connections.errors import answered_within
from shared.connections.listings import Kind, ListingCache
from shared.connections.oauth.flow import OAuthFlow, Parked, well_formed
from shared.connections.records import ConnectionRecord, Stored, key_of
from shared.connections.requests import ConnectRequest
from shared.connections.sources import Sources
from shared.connections.store import Activity, ConnectionStore
from shared.connections.targets import TargetResolver
from shared.context import ReportProgress, discard_progress
from shared.errors import InvalidRequest, NotFound
from shared.storage import ObjectStore, owner_key
from shared.timing import Timing

T = TypeVar("T")

CALL_SECONDS = 60.0
_LIST: dict[Kind, Operation[Listing]] = {
    "tools": list_tools,
    "resources": list_resources,
    "templates": list_templates,
    "prompts": list_prompts,
}
MAX_KNOWN_BYTES = 4 * 1024 * 1024


class Connections:
    """Makes, uses and ends the connections of principals to MCP servers.

    Args:
        config: The settings of connections.
        state: The container of state: `Storage.state`.
        sessions: Live sessions of this instance.
        max_known_bytes: Maximum bytes of all lists in memory, as JSON; as objects they take several
            times that.
        timing: The lengths of leases, and how long a caller waits for a server's lists and completions.

    Attributes:
        config: The settings of connections.
        sources: Finds the connections that have tools.
    """

    def __init__(
        self,
        config: ConnectionsConfig,
        state: ObjectStore,
        sessions: SessionCache | None = None,
        max_known_bytes: int = MAX_KNOWN_BYTES,
        timing: Timing | None = None,
    ) -> None:
        self.config = config
        self._timing = timing or Timing()
        self._background = Background()
        self._store = ConnectionStore(state, config, self._background, timing)
        self._flow = OAuthFlow(self._store, config, self._background)
        self._sessions = SessionCache() if sessions is None else sessions
        self._activity = Activity(self._store)
        self._targets = TargetResolver(config, self._store, self._activity, self._background)
        self._connector = Connector(
            config, self._store, self._flow, self._targets, self._sessions, self._background
        )
        self.sources = Sources(config, self.clients)
        self._listings = ListingCache(max_known_bytes, self._timing.listing)

    @property
    def live_sessions(self) -> int:
        """Number of open sessions of this instance."""
        return len(self._sessions)

    async def connect(
        self, principal: str, request: ConnectRequest, callback_url: str
    ) -> Connected | AuthorizationNeeded:
        """Makes a connection.

        Args:
            principal: The principal that it will belong to.
            request: The server, and the credentials to use.
            callback_url: This app's own `GET /mcp/oauth/callback`.

        Raises:
            InvalidRequest: Its fields do not fit together, or the principal has too many connections.
            GatewayError: The server or its authorization server refused, failed, or timed out.
        """
        self.sources.forget(principal)
        return await self._connector.connect(principal, request, callback_url)

    async def park_authorization(
        self,
        state: str,
        code: str | None,
        issuer: str | None,
        error: str | None,
    ) -> Parked:
        """Keeps what a browser brought back until it is confirmed; see `OAuthFlow.park`."""
        return await self._flow.park(state, code, issuer, error)

    async def confirm_authorization(
        self, principal: str, connection_id: str, characters: str
    ) -> ConnectionRecord:
        """Ends an authorization of the principal's with the characters that the browser was shown.

        Raises:
            InvalidRequest: They are wrong, or cannot be such characters at all.
            GatewayError: As `OAuthFlow.confirm` does.
        """
        typed = well_formed(characters)
        if typed is None:
            # Nothing is asked of storage, and no try is lost.
            raise InvalidRequest.for_field(
                "code", "Give the 8 characters that the browser showed: digits and letters."
            )
        owner = owner_key(principal)
        return (await self._flow.confirm(owner, connection_id, typed)).record

    async def remove_abandoned(self, owner: str, connection_id: str) -> bool | None:
        """Deletes an abandoned connection; see `ConnectionStore.remove_abandoned`."""
        return await self._store.remove_abandoned(owner, connection_id)

    async def disconnect(self, principal: str, connection_id: str) -> None:
        """Ends a connection."""
        stored = await self._stored(principal, connection_id)
        await self._store.delete(stored.owner, stored.record)
        self.sources.forget(principal)
        self._forget(stored.key)

    async def clients(self, principal: str) -> Sequence[ConnectionRecord]:
        """Returns the principal's connections, oldest first."""
        return [self._activity.latest(one) for one in await self._store.list(owner_key(principal))]

    async def client(self, principal: str, connection_id: str) -> ConnectionRecord:
        """Returns one connection."""
        return self._activity.latest(await self._stored(principal, connection_id))

    async def list_tools(self, principal: str, connection_id: str) -> Listing:
        """Returns the tools of a connection's server."""
        return await self._read(principal, connection_id, list_tools)

    async def list_resources(self, principal: str, connection_id: str) -> Listing:
        """Returns the resources of a connection's server."""
        return await self._read(principal, connection_id, list_resources)

    async def list_prompts(self, principal: str, connection_id: str) -> Listing:
        """Returns the prompts of a connection's server."""
        return await self._read(principal, connection_id, list_prompts)

    async def read_resource(self, principal: str, connection_id: str, uri: str) -> JsonObject:
        """Returns the contents of a resource."""
        return await self._read(principal, connection_id, reading_resource(uri))

    async def get_prompt(
        self,
        principal: str,
        connection_id: str,
        name: str,
        arguments: dict[str, str],
    ) -> JsonObject:
        """Returns a prompt with its arguments filled in."""
        operation = getting_prompt(name, arguments)
        return await self._read(principal, connection_id, operation)

    async def complete(
        self,
        principal: str,
        connection_id: str,
        reference: Reference,
        argument: dict[str, str],
        given: dict[str, str],
    ) -> Completion:
        """Returns how an argument of a prompt or of a template of resources may go on.

        A server that needs longer than this has to connect is connected by its lists, which have more
        time (`cached`): each completion until then starts anew.

        Raises:
            ConnectionTimeout: The server is too slow, connecting included.
        """
        operation, seconds = completing(reference, argument, given), self._timing.completion
        async with answered_within(seconds):
            target = await self._find(principal, connection_id)
            return await self._sessions.run(target, operation, timeout=seconds, is_repeatable=True)

    async def call_tool(
        self,
        principal: str,
        connection_id: str,
        name: str,
        arguments: JsonObject,
        *,
        timeout: float = CALL_SECONDS,  # noqa: ASYNC109 - the server's share of the call's time
        report_progress: ReportProgress = discard_progress,
    ) -> JsonObject:
        """Calls a tool and returns the protocol's result, which may be an error of the tool's."""
        target = await self._find(principal, connection_id)
        return await self._sessions.run(
            target,
            calling_tool(name, arguments, report_progress),
            timeout=timeout,
            is_repeatable=False,
        )

    async def cached(self, kind: Kind, principal: str, connection_id: str) -> Listing:
        """Returns what a connection's server lists of a kind, as it was within the last minute.

        Raises:
            ConnectionTimeout: The server is too slow; it has more time, and its list is there later.
        """
        key = key_of(owner_key(principal), connection_id)
        return await self._listings.get(
            (key, kind), lambda: self._read(principal, connection_id, _LIST[kind])
        )

    async def aclose(self) -> None:
        """Closes all live sessions, and waits until tokens that are being renewed are stored."""
        await self._listings.aclose()
        await self._sessions.aclose()
        await self._background.aclose()

    async def _read(
        self,
        principal: str,
        connection_id: str,
        operation: Operation[T],
    ) -> T:
        target = await self._find(principal, connection_id)
        return await self._sessions.run(target, operation, timeout=LIST_SECONDS, is_repeatable=True)

    async def _stored(self, principal: str, connection_id: str) -> Stored:
        server = self.config.operator_servers.get(connection_id)
        if server is not None and not server.is_per_user:
            raise NotFound(
                f"'{connection_id}' is the operator's, from MCP_SERVERS: "
                "everybody can use it, but it is not among your connections."
            )
        return await self._store.read(owner_key(principal), connection_id)

    async def _find(self, principal: str, connection_id: str) -> Target:
        owner = owner_key(principal)
        try:
            return await self._targets.find(owner, connection_id)
        except NotFound:
            # Another instance may have ended it.
            self.sources.forget(principal)
            self._forget(key_of(owner, connection_id))
            raise

    def _forget(self, key: str) -> None:
        self._sessions.end(key)
        self._targets.forget(key)
        self._activity.forget(key)
        self._listings.forget(key)
