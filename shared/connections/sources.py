"""Which connections of a principal have tools, and how the names of these are made."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Literal

from shared.connections.config import ConnectionsConfig
from shared.connections.errors import NotAuthorized, ServerRefused
from shared.connections.records import (
    ConnectionRecord,
    free_prefix,
    hide_query,
    plain_prefix,
    prefix_of,
)
from shared.errors import DeadlineExceeded, GatewayError, NotConfigured, NotFound
from shared.tools import CONNECTION_SEPARATOR

MAX_NAME_CHARS = 64
MAX_PRINCIPALS = 1000
"""Maximum principals whose connections an instance remembers."""

Wanted = Sequence[str] | Literal["none"] | None
"""Names or ids of connections; None for all."""

ProblemReason = Literal["unavailable", "not_authorized", "timed_out", "refused", "left_out"]
_FOR_MODEL: dict[ProblemReason, str] = {
    "unavailable": "The tools of the connection '{name}' are missing now: its server failed.",
    "not_authorized": "The tools of the connection '{name}' are missing now: it is not authorized.",
    "timed_out": "The tools of the connection '{name}' are missing now: its server is too slow.",
    "refused": "The tools of the connection '{name}' are missing now: its server refused to list them.",
    "left_out": "Some tools of the connection '{name}' are left out.",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A connection whose tools may be selected.

    Attributes:
        client_id: Its id; the name of one of the operator's.
        name: Its name.
        prefix: What the names of its tools begin with.
    """

    client_id: str
    name: str
    prefix: str

    def is_named(self, wanted: Wanted) -> bool:
        """Returns whether a caller who names connections means this one."""
        names = (self.client_id, self.name, self.prefix)
        return wanted is None or (wanted != "none" and any(name in wanted for name in names))

    def may_have(self, tool: str) -> bool:
        """Returns whether a tool of this name would be its tool."""
        return tool.startswith(f"{self.prefix}{CONNECTION_SEPARATOR}")

    def tool_name(self, tool: str, taken: Container[str]) -> str:
        """Returns the name by which models call one of its tools, and no other one.

        Args:
            tool: The server's name for it.
            taken: Names of its other tools.
        """
        name = f"{self.prefix}{CONNECTION_SEPARATOR}{re.sub(r'[^A-Za-z0-9_-]', '_', tool)}"
        return (
            name if len(name) <= MAX_NAME_CHARS and name not in taken else marked_name(name, tool)
        )


def marked_name(name: str, tool: str) -> str:
    """Returns a name that ends with a mark of the server's own name, for one that is taken or long."""
    mark = hashlib.sha256(tool.encode()).hexdigest()[:8]
    return f"{name[: MAX_NAME_CHARS - 9]}_{mark}"


@dataclass(frozen=True, slots=True)
class ConnectionProblem:
    """A connection whose tools are missing, or whose server was gone when one was called.

    Attributes:
        client_id: Its id; the name of one of the operator's.
        name: Its name.
        detail: What is wrong, for people: it may quote the server.
        reason: What is wrong, in one of a few words.
    """

    client_id: str
    name: str
    detail: str
    reason: ProblemReason

    @classmethod
    def of(cls, source: Source, error: GatewayError) -> "ConnectionProblem":
        """Returns the problem that an error of a connection's server is."""
        reason: ProblemReason = "unavailable"
        detail = error.detail
        if isinstance(error, NotAuthorized):
            reason = "not_authorized"
        elif isinstance(error, DeadlineExceeded):
            reason, detail = "timed_out", "The MCP server did not answer in time."
        elif isinstance(error, ServerRefused):
            reason = "refused"
        return cls(source.client_id, source.name, detail, reason)

    @property
    def for_model(self) -> str:
        """What a model is told: nothing that the server says."""
        name = re.sub(r"[^\w .:@-]", "_", self.name)[:MAX_NAME_CHARS]
        return f"{_FOR_MODEL[self.reason].format(name=name)} Say so where the user needs them."


class Sources:
    """Finds the connections of principals that have tools, the operator's first.

    Args:
        config: Has the operator's servers.
        clients: Returns the connections of a principal.
    """

    def __init__(
        self,
        config: ConnectionsConfig,
        clients: Callable[[str], Awaitable[Sequence[ConnectionRecord]]],
    ) -> None:
        self._config = config
        self._clients = clients
        self._known: dict[str, tuple[float, Sequence[Source]]] = {}

    async def list(
        self, principal: str, wanted: Wanted = None
    ) -> tuple[Sequence[Source], list[ConnectionProblem]]:
        """Returns the wanted connections, and those of them that cannot be used.

        Raises:
            NotFound: A wanted connection does not exist.
        """
        if wanted == "none" or (wanted is not None and not wanted):
            return [], []
        sources, unusable = await self._read(principal)
        if wanted is None:
            shown = [each for each in unusable if each.is_failed]
            return sources, [each.problem for each in shown]
        everything = [*sources, *(each.source for each in unusable)]
        for name in wanted:
            if not any(source.is_named([name]) for source in everything):
                raise NotFound(f"There is no connection '{name[:MAX_NAME_CHARS]}'.")
        problems = [each.problem for each in unusable if each.source.is_named(wanted)]
        return [source for source in sources if source.is_named(wanted)], problems

    async def of_tool(self, principal: str, tool: str, wanted: Wanted = None) -> Sequence[Source]:
        """Returns the connections that may have a tool of this name, mostly without asking storage.

        What is remembered stays valid: a prefix is never given to another connection.
        """
        known = self._known.get(principal)
        if known is not None and known[0] > monotonic():
            found = [source for source in known[1] if source.may_have(tool)]
            if found:
                return [source for source in found if source.is_named(wanted)]
        sources, _ = await self._read(principal)
        return [each for each in sources if each.may_have(tool) and each.is_named(wanted)]

    def forget(self, principal: str) -> None:
        """Drops what is remembered of a principal's connections."""
        self._known.pop(principal, None)

    async def _read(self, principal: str) -> tuple[Sequence[Source], Sequence["_Unusable"]]:
        sources: list[Source] = []
        unusable = []
        records = await self._records(principal)
        for name, server in self._config.operator_servers.items():
            source = Source(name, name, plain_prefix(name))
            if server.is_per_user:
                usable = self._authorized(name, records)
                if usable is None:
                    unusable.append(_Unusable(source, True, how_to_authorize(name)))
                    continue
                source = Source(usable.id, name, source.prefix)
            sources.append(_with_free_prefix(source, sources))
        for record in records:
            source = Source(record.id, record.name, prefix_of(record))
            if record.server is not None:
                continue
            if record.status == "connected":
                sources.append(_with_free_prefix(source, sources))
            else:
                unusable.append(_Unusable(source, record.status == "authorization_failed"))
        self._remember(principal, sources)
        return sources, unusable

    def _authorized(
        self, server: str, records: Sequence[ConnectionRecord]
    ) -> ConnectionRecord | None:
        """Returns the connection by which a principal has authorized a server of the operator's."""
        for record in records:
            is_its = record.server == server and record.status == "connected"
            if is_its and is_offered(record, self._config):
                return record
        return None

    async def _records(self, principal: str) -> Sequence[ConnectionRecord]:
        try:
            return await self._clients(principal)
        except NotConfigured:
            # Without storage there are no stored connections, but the operator's work.
            return []

    def _remember(self, principal: str, sources: Sequence[Source]) -> None:
        self._known.pop(principal, None)
        self._known[principal] = (monotonic() + REMEMBERED_SECONDS, sources)
        if len(self._known) > MAX_PRINCIPALS:
            del self._known[next(iter(self._known))]


REMEMBERED_SECONDS = 60.0
"""Seconds for which an instance knows the connections of a principal, for calls of their tools."""


@dataclass(frozen=True, slots=True)
class _Unusable:
    """A connection that cannot be used before somebody authorizes it.

    Attributes:
        source: The connection.
        is_failed: Whether its authorization failed, and is not under way.
        detail: What is to be done.
    """

    source: Source
    is_failed: bool
    detail: str = "It is not authorized. Connect again."

    @property
    def problem(self) -> ConnectionProblem:
        source = self.source
        return ConnectionProblem(source.client_id, source.name, self.detail, "not_authorized")


def _with_free_prefix(source: Source, others: Sequence[Source]) -> Source:
    prefix = free_prefix(source.prefix, {other.prefix for other in others})
    return Source(source.client_id, source.name, prefix)


def how_to_authorize(server: str) -> str:
    """Returns what a principal has to do before it can use a server of the operator's."""
    return (
        f'Authorize \'{server}\' once with your own account: send {{"server": "{server}"}} to POST '
        "/mcp/connect, open authorization_url in a browser, and send the characters that it shows to "
        "POST /mcp/oauth/confirm."
    )


def is_offered(record: ConnectionRecord, config: ConnectionsConfig) -> bool:
    """Returns whether the operator still has the server of a connection, at the same address."""
    if record.server is None:
        return True
    server = config.operator_servers.get(record.server)
    if server is None or not server.is_per_user:
        return False
    return hide_query(server.url)[0] == record.mcp_url
