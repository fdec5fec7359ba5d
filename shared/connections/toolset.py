"""The tools of connections as the agent takes them, for one request."""

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.connections.errors import ConnectionTimeout
from shared.connections.operations import JsonObject, as_tool_result
from shared.connections.records import ConnectionRecord
from shared.connections.service import Connections
from shared.errors import DeadlineExceeded, GatewayError, NotConfigured, NotFound
from shared.tools import ToolContext, ToolResult, ToolSpec

LIST_SECONDS = 10.0
MAX_NAME_CHARS = 64
_MAX_PREFIX_CHARS = 24
_SEPARATOR = "__"


@dataclass(frozen=True, slots=True)
class ConnectionProblem:
    """A connection whose tools are missing.

    Attributes:
        client_id: Which one; the name of one of the operator's.
        name: What it is called.
        detail: What is wrong.
    """

    client_id: str
    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Source:
    client_id: str
    name: str
    prefix: str


class ConnectionToolset:
    """The tools of some connections, as they were when the request began: a `Toolset`.

    Attributes:
        problems: Connections that could not be asked. The others' tools are there all the same.
    """

    def __init__(
        self,
        connections: Connections,
        tools: Mapping[str, tuple[ToolSpec, str, str]],
        problems: Sequence[ConnectionProblem],
    ) -> None:
        self._connections = connections
        self._tools = tools
        self.problems = problems

    async def list(self, context: ToolContext) -> Sequence[ToolSpec]:
        """Returns the tools, each named ``<connection>__<tool>``."""
        return [spec for spec, _, _ in self._tools.values()]

    async def call(self, name: str, arguments: JsonObject, context: ToolContext) -> ToolResult:
        """Calls a tool; what its server does wrong is a result with ``is_error``.

        Raises:
            NotFound: There is no such tool.
            DeadlineExceeded: The request's budget is used up.
        """
        if name not in self._tools:
            raise NotFound(f"There is no tool '{name}'.")
        _, client_id, tool = self._tools[name]
        try:
            result = await self._connections.call_tool(
                context.principal.name,
                client_id,
                tool,
                arguments,
                context.deadline,
                report_progress=context.report_progress,
            )
        except GatewayError as error:
            if isinstance(error, DeadlineExceeded) and not isinstance(error, ConnectionTimeout):
                raise
            return ToolResult(error.detail, is_error=True)
        return as_tool_result(result)


async def open_toolset(
    connections: Connections,
    context: ToolContext,
    wanted: Sequence[str] | Literal["none"] | None = None,
) -> ConnectionToolset:
    """Asks the caller's connections, and the operator's, for their tools.

    Args:
        connections: The manager.
        context: Whose connections, and until when.
        wanted: Their ids, names for the operator's; None for all.

    Raises:
        NotFound: A wanted connection does not exist.
        DeadlineExceeded: The request's budget is used up.
    """
    sources, problems = await _sources(connections, context, wanted)
    listed = await asyncio.gather(*(_tools_of(connections, source, context) for source in sources))
    tools: dict[str, tuple[ToolSpec, str, str]] = {}
    for source, result in zip(sources, listed, strict=True):
        if isinstance(result, str):
            problems.append(ConnectionProblem(source.client_id, source.name, result))
            continue
        for tool in result:
            name = _unique_name(source, str(tool["name"]), tools)
            tools[name] = (_spec(name, tool, source), source.client_id, str(tool["name"]))
    return ConnectionToolset(connections, tools, problems)


async def _sources(
    connections: Connections,
    context: ToolContext,
    wanted: Sequence[str] | Literal["none"] | None,
) -> tuple[list[_Source], list[ConnectionProblem]]:
    if wanted == "none" or (wanted is not None and not wanted):
        return [], []
    named = [(name, name) for name in connections.config.operator_servers]
    problems = []
    for record in await _clients(connections, context):
        if record.status == "connected":
            named.append((record.id, record.name))
        elif wanted is not None and record.id not in wanted:
            continue
        elif record.status == "authorization_failed" or wanted is not None:
            detail = "It is not authorized. Connect again."
            problems.append(ConnectionProblem(record.id, record.name, detail))
    known = {client_id for client_id, _ in named} | {problem.client_id for problem in problems}
    if unknown := [client_id for client_id in wanted or () if client_id not in known]:
        raise NotFound(f"There is no connection '{unknown[0]}'.")
    chosen = [pair for pair in named if wanted is None or pair[0] in wanted]
    prefixes = _prefixes(name for _, name in chosen)
    return [_Source(*pair, prefix) for pair, prefix in zip(chosen, prefixes, strict=True)], problems


async def _clients(connections: Connections, context: ToolContext) -> Sequence[ConnectionRecord]:
    try:
        return await context.deadline.wait_for(connections.clients(context.principal.name))
    except NotConfigured:
        # Without storage nobody has connections, and chat goes on with the operator's.
        return []


async def _tools_of(
    connections: Connections, source: _Source, context: ToolContext
) -> list[JsonObject] | str:
    try:
        return await connections.cached_tools(
            context.principal.name,
            source.client_id,
            context.deadline.within(LIST_SECONDS),
            LIST_SECONDS,
        )
    except GatewayError as error:
        if not context.deadline.remaining():
            raise
        if isinstance(error, DeadlineExceeded):
            return "The MCP server did not answer in time."
        return error.detail


def _prefixes(names: Iterable[str]) -> list[str]:
    prefixes: list[str] = []
    for name in names:
        plain = re.sub(r"_{2,}", "_", re.sub(r"[^A-Za-z0-9-]", "_", name)).strip("_-")
        plain = plain[:_MAX_PREFIX_CHARS] or "server"
        candidate, number = plain, 1
        while candidate in prefixes:
            number += 1
            candidate = f"{plain}_{number}"
        prefixes.append(candidate)
    return prefixes


def _unique_name(source: _Source, tool: str, taken: Mapping[str, Any]) -> str:
    """Returns a name that models may call and nothing else has."""
    name = f"{source.prefix}{_SEPARATOR}{re.sub(r'[^A-Za-z0-9_-]', '_', tool)}"
    if len(name) <= MAX_NAME_CHARS and name not in taken:
        return name
    mark = hashlib.sha256(tool.encode()).hexdigest()[:8]
    return f"{name[: MAX_NAME_CHARS - 9]}_{mark}"


def _spec(name: str, tool: JsonObject, source: _Source) -> ToolSpec:
    annotations = tool.get("annotations") or {}
    title = tool.get("title") or annotations.get("title") or tool["name"]
    return ToolSpec(
        name=name,
        title=f"{source.name}: {title}",
        description=str(tool.get("description") or title),
        input_schema=tool.get("inputSchema") or {"type": "object"},
        output_schema=tool.get("outputSchema"),
        annotations=annotations,
    )
