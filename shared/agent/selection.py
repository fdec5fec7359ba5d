"""The tools that the model may call in one run, and the toolset that each is part of."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.agent.events import ChatOptions
from shared.auth import Principal
from shared.connections import ConnectionProblem, Connections, open_toolset
from shared.context import CallContext
from shared.errors import InvalidRequest
from shared.tools import Toolset, ToolSpec

MAX_REMOTE_TOOLS = 100
"""Maximum tools of connections where a caller names none: providers take 128 in all, ours included."""

MAX_SHOWN = 5
MAX_SHOWN_CHARS = 64
"""Maximum characters of an unknown tool's name in the error."""


@dataclass(frozen=True, slots=True)
class ToolSelection:
    """The tools of one run.

    Attributes:
        tools: Each tool's description and toolset, by name.
        problems: Connections whose tools are missing.
    """

    tools: Mapping[str, tuple[ToolSpec, Toolset]]
    problems: Sequence[ConnectionProblem] = ()

    @property
    def names(self) -> Sequence[str]:
        """The names of the tools."""
        return list(self.tools)

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
            for spec, _ in self.tools.values()
        ]


async def select_tools(
    own: Toolset, connections: Connections, chat: ChatOptions, context: CallContext
) -> ToolSelection:
    """Lists our own tools and those of the caller's connections, and selects the named ones.

    Args:
        own: Our own tools.
        connections: The tools of other MCP servers.
        chat: Names the tools and connections.
        context: The caller.

    Raises:
        InvalidRequest: A named tool does not exist.
        InsufficientScope: A named tool costs money and the caller lacks ``tools``, or connections are
            named and it lacks ``connections``.
        NotFound: A named connection does not exist.
        DeadlineExceeded: The request's budget is used up.
    """
    wanted = chat.tools
    if wanted == "none":
        return ToolSelection({})
    limit = MAX_REMOTE_TOOLS if wanted is None else None
    sources = _allowed_sources(chat, context.principal)
    remote = await open_toolset(connections, context, sources, named=wanted, limit=limit)
    toolsets: tuple[Toolset, ...] = (own, remote)
    listed = await asyncio.gather(*(toolset.list(context) for toolset in toolsets))
    tools = {
        spec.name: (spec, toolset)
        for toolset, specs in zip(toolsets, listed, strict=True)
        for spec in specs
    }
    if "tools" not in context.principal.scopes:
        if any(name in tools and tools[name][0].is_paid for name in wanted or ()):
            context.principal.require("tools")
        tools = {name: found for name, found in tools.items() if not found[0].is_paid}
    if wanted is None:
        offered = {name: found for name, found in tools.items() if not found[0].only_named}
        return ToolSelection(offered, remote.problems)
    if unknown := [name for name in wanted if name not in tools]:
        named = ", ".join(name[:MAX_SHOWN_CHARS] for name in unknown[:MAX_SHOWN])
        raise InvalidRequest.for_field(
            "tools",
            f"unknown: {named}. The tools are: {', '.join(tools)}; those of connections are named "
            "CONNECTION__TOOL.",
        )
    return ToolSelection({name: tools[name] for name in wanted}, remote.problems)


def _allowed_sources(
    chat: ChatOptions, principal: Principal
) -> Sequence[str] | Literal["none"] | None:
    """Returns the connections to list; without ``connections`` none, not the operator's either."""
    if "connections" in principal.scopes:
        return chat.connections
    if chat.connections and chat.connections != "none":
        principal.require("connections")
    return "none"
