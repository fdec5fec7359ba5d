"""Selects the tools that a caller has, for each door alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.connections import (
    Completion,
    ConnectionProblem,
    Connections,
    Kind,
    Reference,
    RemoteList,
    RemoteTools,
    Source,
    Wanted,
    find_remote_tool,
    open_remote_list,
    open_remote_tools,
)
from shared.context import CallContext
from shared.errors import InvalidRequest, NotFound
from shared.selection.search import MAX_SEARCHED_BYTES, SPECS, ToolSearch
from shared.tools import CONNECTION_SEPARATOR, JsonObject, ToolRegistry, Toolset, ToolSpec

MAX_SHOWN = 5
MAX_SHOWN_CHARS = 64
"""Maximum characters of an unknown tool's name in the error."""

_SEARCH_NAMES = frozenset(spec.name for spec in SPECS)


@dataclass(frozen=True, slots=True)
class ToolSelection:
    """The tools that a caller, or the model of a chat, is offered.

    Attributes:
        tools: Each tool's description and toolset, by name.
        problems: Connections whose tools are missing.
    """

    tools: Mapping[str, tuple[ToolSpec, Toolset]]
    problems: Sequence[ConnectionProblem] = field(default=())

    @property
    def names(self) -> Sequence[str]:
        """The names of the tools."""
        return list(self.tools)

    @property
    def specs(self) -> Sequence[ToolSpec]:
        """The descriptions of the tools."""
        return [spec for spec, _ in self.tools.values()]

    def find(self, name: str) -> Toolset | None:
        """Returns the toolset of a tool; None where the tool is not selected."""
        found = self.tools.get(name)
        return found[1] if found else None

    def is_paid(self, name: str) -> bool:
        """Returns whether a call of the tool costs money."""
        found = self.tools.get(name)
        return found is not None and found[0].is_paid

    def as_functions(self) -> list[dict[str, Any]]:
        """Returns the tools as the Chat Completions API takes them."""
        return [
            {
                "type": "function",
                "function": {
                    "name": spec.name,
                    "description": spec.description,
                    "parameters": spec.input_schema,
                },
            }
            for spec in self.specs
        ]


class ToolSelector:
    """Selects our own tools and those of connections.

    Where there are too many, two tools that search and call stand in place of those of connections.

    Args:
        own: Our own tools.
        connections: The tools of other MCP servers.
        max_tools: Maximum tools of a list, ours included.
    """

    def __init__(self, own: ToolRegistry, connections: Connections, max_tools: int) -> None:
        self._own = own
        self._connections = connections
        self._max_tools = max_tools

    def is_own(self, name: str) -> bool:
        """Returns whether a tool of this name is our own."""
        return any(tool.name == name for tool in self._own)

    async def for_client(self, context: CallContext) -> ToolSelection:
        """Returns what an MCP client lists.

        Raises:
            NotFound: A connection that the call is narrowed to does not exist.
            InsufficientScope: It is narrowed to connections, and the caller lacks ``connections``.
            DeadlineExceeded: The request's budget is used up.
        """
        return await self._offered(await self._own.list(context), context, context.connections)

    async def every_tool(self, context: CallContext) -> ToolSelection:
        """Returns all tools, however many; raises what `for_client` does."""
        wanted = _allowed(context, context.connections)
        remote = await open_remote_tools(
            self._connections, context, wanted, max_bytes=MAX_SEARCHED_BYTES
        )
        return self._joined(await self._own.list(context), remote)

    async def for_chat(
        self,
        context: CallContext,
        names: Sequence[str] | Literal["none"] | None,
        connections: Wanted,
    ) -> ToolSelection:
        """Returns what the model of a chat is offered.

        Args:
            context: The caller.
            names: The tools that the caller names, which are offered directly; None for what there is.
            connections: The connections that the caller names; None for all.

        Raises:
            InvalidRequest: A named tool does not exist, or the named tools are too long together.
            InsufficientScope: A named tool costs money and the caller lacks ``tools``, or connections
                are named and it lacks ``connections``.
            NotFound: A named connection does not exist.
            DeadlineExceeded: The request's budget is used up.
        """
        if names == "none":
            return ToolSelection({})
        own = await self._own.list(context)
        if names is not None:
            return await self._named(own, context, names, connections)
        is_payer = "tools" in context.principal.scopes
        offered = [spec for spec in own if not spec.only_named and (is_payer or not spec.is_paid)]
        return await self._offered(offered, context, connections)

    async def find(self, name: str, context: CallContext) -> Toolset:
        """Returns the toolset of one tool, without asking any other server than its own.

        Raises:
            NotFound: There is no such tool.
            InsufficientScope: It is of a connection, and the caller lacks ``connections``.
            GatewayError: Its server failed or refused.
        """
        if name in _SEARCH_NAMES:
            context.principal.require("connections")
            return ToolSearch(self._connections, _allowed(context, context.connections))
        if CONNECTION_SEPARATOR not in name:
            return self._own
        context.principal.require("connections")
        wanted = _allowed(context, context.connections)
        return await find_remote_tool(self._connections, name, context, wanted)

    async def read_resource(self, prefix: str, uri: str, context: CallContext) -> JsonObject:
        """Returns what the server of a connection answers for one of its resources.

        Args:
            prefix: What the names of the connection's tools begin with.
            uri: The resource by the server's own name.
            context: The caller.

        Raises:
            NotFound: The caller has no such connection.
            InsufficientScope: The caller lacks ``connections``.
            GatewayError: The server failed or refused.
        """
        source = await self._source(prefix, context)
        return await self._connections.read_resource(context.principal.name, source.client_id, uri)

    async def get_prompt(
        self, prefix: str, name: str, arguments: dict[str, str], context: CallContext
    ) -> JsonObject:
        """Returns what the server of a connection answers for one of its prompts.

        Raises:
            NotFound: The caller has no such connection.
            InsufficientScope: The caller lacks ``connections``.
            GatewayError: The server failed or refused.
        """
        source = await self._source(prefix, context)
        return await self._connections.get_prompt(
            context.principal.name, source.client_id, name, arguments
        )

    async def complete(
        self,
        prefix: str,
        reference: Reference,
        argument: dict[str, str],
        given: dict[str, str],
        context: CallContext,
    ) -> Completion:
        """Returns how the server of a connection would complete an argument.

        Args:
            prefix: What the names of the connection's tools begin with.
            reference: What has the argument, by the server's own name.
            argument: Its ``name`` and, as ``value``, what has been written of it.
            given: Other arguments, which are known already.
            context: The caller.

        Raises:
            NotFound: The caller has no such connection.
            InsufficientScope: The caller lacks ``connections``.
            GatewayError: The server failed or refused.
        """
        source = await self._source(prefix, context)
        owner = context.principal.name
        return await self._connections.complete(owner, source.client_id, reference, argument, given)

    async def listed(self, kind: Kind, context: CallContext) -> RemoteList:
        """Returns what the servers of connections list besides tools; raises what `for_client` does."""
        wanted = _allowed(context, context.connections)
        return await open_remote_list(self._connections, kind, context, wanted)

    async def _source(self, prefix: str, context: CallContext) -> Source:
        context.principal.require("connections")
        sources, _ = await self._connections.sources.list(
            context.principal.name, context.connections
        )
        for source in sources:
            if source.prefix == prefix:
                return source
        raise NotFound("There is no connection of this name.")

    async def _offered(
        self, own: Sequence[ToolSpec], context: CallContext, connections: Wanted
    ) -> ToolSelection:
        wanted = _allowed(context, connections)
        limit = max(0, self._max_tools - len(own))
        remote = await open_remote_tools(self._connections, context, wanted, limit=limit)
        if not remote.is_exceeded:
            return self._joined(own, remote)
        problems = [each for each in remote.problems if each.reason != "left_out"]
        search = ToolSearch(self._connections, wanted, problems)
        tools: dict[str, tuple[ToolSpec, Toolset]] = {spec.name: (spec, self._own) for spec in own}
        return ToolSelection(tools | {spec.name: (spec, search) for spec in SPECS}, problems)

    async def _named(
        self,
        own: Sequence[ToolSpec],
        context: CallContext,
        names: Sequence[str],
        connections: Wanted,
    ) -> ToolSelection:
        wanted = _allowed(context, connections)
        if connections is None and {*names} <= {spec.name for spec in own}:
            # Nobody else need be asked for their tools.
            wanted = "none"
        remote = await open_remote_tools(self._connections, context, wanted, named=names)
        known = dict(self._joined(own, remote).tools)
        search = ToolSearch(self._connections, wanted, remote.problems)
        known |= {spec.name: (spec, search) for spec in SPECS if wanted != "none"}
        if any(name in known and known[name][0].is_paid for name in names):
            context.principal.require("tools")
        if unknown := [name for name in names if name not in known]:
            shown = ", ".join(name[:MAX_SHOWN_CHARS] for name in unknown[:MAX_SHOWN])
            raise InvalidRequest.for_field(
                "tools",
                f"unknown: {shown}. The tools are: {', '.join(known)}; those of connections are named "
                "CONNECTION__TOOL.",
            )
        return ToolSelection({name: known[name] for name in names}, remote.problems)

    def _joined(self, own: Sequence[ToolSpec], remote: RemoteTools) -> ToolSelection:
        tools: dict[str, tuple[ToolSpec, Toolset]] = {spec.name: (spec, self._own) for spec in own}
        return ToolSelection(
            tools | {spec.name: (spec, remote) for spec in remote.specs}, remote.problems
        )


def _allowed(context: CallContext, connections: Wanted) -> Wanted:
    """Returns the connections to list; without ``connections`` none, not the operator's either.

    Raises:
        InsufficientScope: The caller names some and lacks the scope.
    """
    if "connections" in context.principal.scopes:
        return connections
    if connections and connections != "none":
        context.principal.require("connections")
    return "none"
