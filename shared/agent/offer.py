"""Which tools the model is offered in one request, and where each of them runs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.context import CallContext
from shared.errors import InvalidRequest
from shared.tools import Toolset, ToolSpec

MAX_SHOWN = 5
MAX_SHOWN_CHARS = 64
"""Maximum characters of an unknown tool's name in the error."""


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """The tools of one request.

    Attributes:
        tools: Each tool's description and where it runs, by name.
    """

    tools: Mapping[str, tuple[ToolSpec, Toolset]]

    @property
    def names(self) -> Sequence[str]:
        """The names of the tools."""
        return list(self.tools)

    def find(self, name: str) -> Toolset | None:
        """Returns where a tool runs, None where it is not offered."""
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


async def make_offer(
    toolsets: Sequence[Toolset],
    wanted: Sequence[str] | Literal["none"] | None,
    context: CallContext,
) -> ToolOffer:
    """Lists the toolsets and picks the wanted tools.

    Args:
        toolsets: Where tools come from.
        wanted: Names to offer; None for all.
        context: Whose tools, and until when.

    Raises:
        InvalidRequest: A wanted tool does not exist.
    """
    if wanted == "none":
        return ToolOffer({})
    listed = await asyncio.gather(*(toolset.list(context) for toolset in toolsets))
    tools = {
        spec.name: (spec, toolset)
        for toolset, specs in zip(toolsets, listed, strict=True)
        for spec in specs
    }
    if wanted is None:
        return ToolOffer(tools)
    if unknown := [name for name in wanted if name not in tools]:
        named = ", ".join(name[:MAX_SHOWN_CHARS] for name in unknown[:MAX_SHOWN])
        raise InvalidRequest.for_field(
            "tools",
            f"unknown: {named}. The tools are: {', '.join(tools)}; those of connections are named "
            "CONNECTION__TOOL.",
        )
    return ToolOffer({name: tools[name] for name in wanted})
