"""The list of tools: ours, written once for each revision of the protocol, then those of connections."""

from collections.abc import Iterable
from typing import Any

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types.methods import serialize_server_result

from shared.mcp_server.connection_lists import caching
from shared.selection import ToolSelection
from shared.tools import ToolSpec

_METHOD = "tools/list"


class ToolList:
    """Lists tools, as a middleware of the SDK's server around a handler that leaves out our own.

    Ours are the same in each list. Checking and writing them takes the SDK longer than all the rest of a
    request, so that is done once.

    Args:
        own: Our own tools.
    """

    def __init__(self, own: Iterable[ToolSpec]) -> None:
        self._own = list(own)
        self._names = frozenset(spec.name for spec in self._own)
        self._written: dict[str, list[Any]] = {}

    def others(self, selection: ToolSelection) -> types.ListToolsResult:
        """Returns what the handler answers: the tools of a selection that are not ours."""
        others = [spec for spec in selection.specs if spec.name not in self._names]
        return types.ListToolsResult(
            tools=list(map(_as_tool, others)), **caching(selection.problems)
        )

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Puts our tools before those that the handler lists."""
        result = await call_next(ctx)
        if ctx.method == _METHOD and isinstance(result, dict):
            result["tools"] = [*self._in(ctx.protocol_version), *result["tools"]]
        return result

    def _in(self, revision: str) -> list[Any]:
        """Returns our tools as a revision has them; only known ones get here."""
        if revision not in self._written:
            result = types.ListToolsResult(tools=list(map(_as_tool, self._own)))
            plain = result.model_dump(by_alias=True, mode="json", exclude_none=True)
            self._written[revision] = serialize_server_result(_METHOD, revision, plain)["tools"]
        return self._written[revision]


def _as_tool(spec: ToolSpec) -> types.Tool:
    return types.Tool(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        input_schema=spec.input_schema,
        output_schema=spec.output_schema,
        annotations=types.ToolAnnotations.model_validate(spec.annotations),
    )
