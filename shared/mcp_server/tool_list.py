"""The list of tools: ours, written once for each revision of the protocol, then those of connections."""

from collections.abc import Iterable
from typing import Any

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types.methods import serialize_server_result
from pydantic_core import to_json

from shared.mcp_server.connection_lists import caching
from shared.selection import ToolSelection
from shared.tools import Tool, ToolSpec

_METHOD = "tools/list"

MAX_OWN_BYTES = 15_640
"""Maximum bytes of our own tools, with which a list stays under 16,000; beyond, they have no icons."""

ICONS_REVISION = "2025-11-25"
"""The first revision of the protocol whose tools may have icons."""


class ToolList:
    """Lists tools, as a middleware of the SDK's server around a handler that leaves out our own.

    Ours are the same in each list. Checking and writing them takes the SDK longer than all the rest of a
    request, so that is done once.

    Args:
        own: Our own tools.
        icons_url: URL of the folder of their icons; None to show none.
    """

    def __init__(self, own: Iterable[Tool], icons_url: str | None) -> None:
        self._own = list(own)
        self._icons_url = icons_url
        self._names = frozenset(tool.name for tool in self._own)
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
            icons_url = self._icons_url if revision >= ICONS_REVISION else None
            written = self._write(revision, icons_url)
            if len(to_json(written)) > MAX_OWN_BYTES:
                # Each icon has the host's name, of which Azure's have up to a hundred characters.
                written = self._write(revision, None)
            self._written[revision] = written
        return self._written[revision]

    def _write(self, revision: str, icons_url: str | None) -> list[Any]:
        specs = [tool.spec for tool in self._own]
        own = [_as_tool(spec, icons_of(icons_url, spec.icon)) for spec in specs]
        plain = types.ListToolsResult(tools=own).model_dump(
            by_alias=True, mode="json", exclude_none=True
        )
        tools: list[Any] = serialize_server_result(_METHOD, revision, plain)["tools"]
        return tools


def icons_of(icons_url: str | None, file: str | None) -> list[types.Icon] | None:
    """Returns an icon as the protocol has it; None without a file or a URL."""
    if icons_url is None or file is None:
        return None
    # Its ending tells the type: each byte here is in each answer.
    return [types.Icon(src=f"{icons_url}/{file}")]


def _as_tool(spec: ToolSpec, icons: list[types.Icon] | None = None) -> types.Tool:
    return types.Tool(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        input_schema=spec.input_schema,
        output_schema=spec.output_schema,
        annotations=types.ToolAnnotations.model_validate(spec.annotations),
        icons=icons,
    )
