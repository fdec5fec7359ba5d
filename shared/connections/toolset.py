"""The tools of connections as the agent takes them, for one request."""

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.connections.errors import ConnectionTimeout, NotAuthorized, ServerUnavailable
from shared.connections.operations import JsonObject, as_tool_result
from shared.connections.prefixes import free_prefix, plain_prefix, prefix_of
from shared.connections.records import ConnectionRecord
from shared.connections.service import Connections
from shared.errors import DeadlineExceeded, GatewayError, NotConfigured, NotFound
from shared.tools import ToolContext, ToolResult, ToolSpec

LIST_SECONDS = 10.0
_TOO_MANY = "Models take only so many: name the tools or the connections to use."
MAX_NAME_CHARS = 64
_SEPARATOR = "__"


@dataclass(frozen=True, slots=True)
class ConnectionProblem:
    """A connection whose tools are missing, or whose server was gone when one was called.

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
        problems: Connections that could not be asked. The others' tools are there all the same. It
            grows where a call finds a server gone.
    """

    def __init__(
        self,
        connections: Connections,
        tools: Mapping[str, tuple[ToolSpec, _Source, str]],
        problems: list[ConnectionProblem],
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
        _, source, tool = self._tools[name]
        try:
            result = await self._connections.call_tool(
                context.principal.name,
                source.client_id,
                tool,
                arguments,
                context.deadline,
                report_progress=context.report_progress,
            )
        except GatewayError as error:
            if isinstance(error, DeadlineExceeded) and not isinstance(error, ConnectionTimeout):
                raise
            if isinstance(error, ServerUnavailable | NotAuthorized):
                self._note_problem(source, error.detail)
            return ToolResult(error.detail, is_error=True)
        return as_tool_result(result)

    def _note_problem(self, source: _Source, detail: str) -> None:
        if all(problem.client_id != source.client_id for problem in self.problems):
            self.problems.append(ConnectionProblem(source.client_id, source.name, detail))


async def open_toolset(
    connections: Connections,
    context: ToolContext,
    wanted: Sequence[str] | Literal["none"] | None = None,
    *,
    limit: int | None = None,
) -> ConnectionToolset:
    """Asks the caller's connections, and the operator's, for their tools.

    Args:
        connections: The manager.
        context: Whose connections, and until when.
        wanted: Their ids, names for the operator's; None for all.
        limit: Most tools to take; what is left out is among the problems.

    Raises:
        NotFound: A wanted connection does not exist.
        DeadlineExceeded: The request's budget is used up.
    """
    sources, problems = await _sources(connections, context, wanted)
    listed = await asyncio.gather(*(_tools_of(connections, source, context) for source in sources))
    tools: dict[str, tuple[ToolSpec, _Source, str]] = {}
    for source, result in zip(sources, listed, strict=True):
        if isinstance(result, str):
            problems.append(ConnectionProblem(source.client_id, source.name, result))
            continue
        room = len(result) if limit is None else max(0, limit - len(tools))
        if len(result) > room:
            detail = f"Of its {len(result)} tools {len(result) - room} are left out. {_TOO_MANY}"
            problems.append(ConnectionProblem(source.client_id, source.name, detail))
        for tool in result[:room]:
            name = _unique_name(source, str(tool["name"]), tools)
            tools[name] = (_spec(name, tool, source), source, str(tool["name"]))
    return ConnectionToolset(connections, tools, problems)


async def _sources(
    connections: Connections,
    context: ToolContext,
    wanted: Sequence[str] | Literal["none"] | None,
) -> tuple[list[_Source], list[ConnectionProblem]]:
    if wanted == "none" or (wanted is not None and not wanted):
        return [], []
    sources: list[_Source] = []

    def add(client_id: str, name: str, prefix: str) -> None:
        taken = {source.prefix for source in sources}
        sources.append(_Source(client_id, name, free_prefix(prefix, taken)))

    for name in connections.config.operator_servers:
        add(name, name, plain_prefix(name))
    problems = []
    for record in await _clients(connections, context):
        if record.status == "connected":
            add(record.id, record.name, prefix_of(record))
        elif wanted is not None and record.id not in wanted:
            continue
        elif record.status == "authorization_failed" or wanted is not None:
            detail = "It is not authorized. Connect again."
            problems.append(ConnectionProblem(record.id, record.name, detail))
    known = {source.client_id for source in sources} | {each.client_id for each in problems}
    if unknown := [client_id for client_id in wanted or () if client_id not in known]:
        raise NotFound(f"There is no connection '{unknown[0]}'.")
    chosen = [source for source in sources if wanted is None or source.client_id in wanted]
    return chosen, problems


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
