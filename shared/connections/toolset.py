"""The tools of connections as the agent takes them, for one request."""

import asyncio
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.connections.errors import (
    ConnectionTimeout,
    NotAuthorized,
    ServerRefused,
    ServerUnavailable,
)
from shared.connections.operations import JsonObject, Listing, as_tool_result
from shared.connections.prefixes import free_prefix, plain_prefix, prefix_of
from shared.connections.records import ConnectionRecord
from shared.connections.schemas import any_object
from shared.connections.service import Connections
from shared.context import CallContext
from shared.errors import (
    DeadlineExceeded,
    GatewayError,
    InvalidRequest,
    NotConfigured,
    NotFound,
)
from shared.tools import ToolResult, ToolSpec

LIST_SECONDS = 10.0
MAX_CONNECTION_BYTES = 200_000
MAX_CALL_BYTES = 400_000
"""How long the definitions of tools may be, for one connection and for all that a model is offered: they
are paid for with every call of the model."""

MAX_NAMED = 20
"""How many tools that are left out an answer names."""

ProblemReason = Literal["unavailable", "not_authorized", "timed_out", "refused", "left_out"]
_FOR_MODEL: dict[ProblemReason, str] = {
    "unavailable": "The tools of the connection '{name}' are missing now: its server failed.",
    "not_authorized": "The tools of the connection '{name}' are missing now: it is not authorized.",
    "timed_out": "The tools of the connection '{name}' are missing now: its server is too slow.",
    "refused": "The tools of the connection '{name}' are missing now: its server refused to list them.",
    "left_out": "Some tools of the connection '{name}' are left out.",
}
MAX_NAME_CHARS = 64
_SEPARATOR = "__"


@dataclass(frozen=True, slots=True)
class ConnectionProblem:
    """A connection whose tools are missing, or whose server was gone when one was called.

    Attributes:
        client_id: Which one; the name of one of the operator's.
        name: What it is called.
        detail: What is wrong, for people: it may quote the server.
        reason: What is wrong, in one of a few words.
    """

    client_id: str
    name: str
    detail: str
    reason: ProblemReason

    @property
    def for_model(self) -> str:
        """What a model is told: nothing that the server says."""
        name = re.sub(r"[^\w .:@-]", "_", self.name)[:MAX_NAME_CHARS]
        return f"{_FOR_MODEL[self.reason].format(name=name)} Say so where the user needs them."


@dataclass(frozen=True, slots=True)
class _Source:
    client_id: str
    name: str
    prefix: str

    def problem(self, detail: str, reason: ProblemReason) -> ConnectionProblem:
        """Returns what is wrong with this connection."""
        return ConnectionProblem(self.client_id, self.name, detail, reason)


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

    async def list(self, context: CallContext) -> Sequence[ToolSpec]:
        """Returns the tools, each named ``<connection>__<tool>``."""
        return [spec for spec, _, _ in self._tools.values()]

    async def call(self, name: str, arguments: JsonObject, context: CallContext) -> ToolResult:
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
                self._note_problem(source, error)
            return ToolResult(error.detail, is_error=True)
        return as_tool_result(result)

    def _note_problem(self, source: _Source, error: GatewayError) -> None:
        if all(problem.client_id != source.client_id for problem in self.problems):
            self.problems.append(source.problem(error.detail, _reason(error)))


async def open_toolset(
    connections: Connections,
    context: CallContext,
    wanted: Sequence[str] | Literal["none"] | None = None,
    *,
    named: Collection[str] | None = None,
    limit: int | None = None,
) -> ConnectionToolset:
    """Asks the caller's connections, and the operator's, for their tools.

    What would make the definitions of all tools too long is left out, and is among the problems.

    Args:
        connections: The manager.
        context: Whose connections, and until when.
        wanted: Their ids, names for the operator's; None for all.
        named: The tools that will be offered; None for all.
        limit: Most tools to take; what is left out is among the problems.

    Raises:
        NotFound: A wanted connection does not exist.
        InvalidRequest: The named tools are too long together.
        DeadlineExceeded: The request's budget is used up.
    """
    sources, problems = await _sources(connections, context, wanted)
    listed = await asyncio.gather(*(_tools_of(connections, source, context) for source in sources))
    selection = _Selection(named, limit)
    for source, result in zip(sources, listed, strict=True):
        if isinstance(result, GatewayError):
            problems.append(source.problem(_detail(result), _reason(result)))
        else:
            problems += selection.add(source, result)
            # Measuring takes a while, and there may be a hundred of them.
            await asyncio.sleep(0)
    return ConnectionToolset(connections, selection.tools, problems)


class _Selection:
    """The tools that fit.

    Args:
        named: Those that will be offered; None for all.
        limit: Most tools.
    """

    def __init__(self, named: Collection[str] | None, limit: int | None) -> None:
        self.tools: dict[str, tuple[ToolSpec, _Source, str]] = {}
        self._named = named
        self._limit = limit
        self._size = 0

    def add(self, source: _Source, listing: Listing) -> Sequence[ConnectionProblem]:
        """Takes what fits of a connection's tools, and returns what is wrong with the others."""
        size = 0
        over: list[str] = []
        for tool in listing:
            name = _unique_name(source, str(tool["name"]), self.tools)
            spec = _spec(name, tool, source)
            length = _length(spec) if self._named is None or name in self._named else 0
            if not self._has_room(size, length):
                over.append(str(tool["name"]))
                continue
            size += length
            self.tools[name] = (spec, source, str(tool["name"]))
        self._size += size
        if over and self._named is not None:
            raise InvalidRequest.for_field("tools", _TOO_LONG)
        sentences = [*([_left_out(len(listing), over)] if over else ()), *listing.left_out]
        return [source.problem(" ".join(sentences), "left_out")] if sentences else []

    def _has_room(self, size: int, length: int) -> bool:
        """Whether a tool may be added to so many bytes of its connection."""
        if self._limit is not None and len(self.tools) >= self._limit:
            return False
        size += length
        return size <= MAX_CONNECTION_BYTES and self._size + size <= MAX_CALL_BYTES


_TOO_LONG = (
    f"The definitions of these tools are too long together: {MAX_CONNECTION_BYTES} bytes are taken of a "
    f"connection, {MAX_CALL_BYTES} of all. Name fewer."
)


def _left_out(count: int, names: Sequence[str]) -> str:
    shown = ", ".join(name[:MAX_NAME_CHARS] for name in names[:MAX_NAMED])
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return (
        f"Of its {count} tools {len(names)} are left out: {shown}{more}. Models take only so many, and "
        "every call of a model pays for them: name the tools or the connections to use."
    )


def _length(spec: ToolSpec) -> int:
    definition = [spec.name, spec.description, spec.input_schema]
    return len(json.dumps(definition, ensure_ascii=False).encode())


def _reason(error: GatewayError) -> ProblemReason:
    if isinstance(error, NotAuthorized):
        return "not_authorized"
    if isinstance(error, DeadlineExceeded):
        return "timed_out"
    return "refused" if isinstance(error, ServerRefused) else "unavailable"


def _detail(error: GatewayError) -> str:
    if isinstance(error, DeadlineExceeded):
        return "The MCP server did not answer in time."
    return error.detail


async def _sources(
    connections: Connections,
    context: CallContext,
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
            problems.append(ConnectionProblem(record.id, record.name, detail, "not_authorized"))
    known = {source.client_id for source in sources} | {each.client_id for each in problems}
    if unknown := [client_id for client_id in wanted or () if client_id not in known]:
        raise NotFound(f"There is no connection '{unknown[0]}'.")
    chosen = [source for source in sources if wanted is None or source.client_id in wanted]
    return chosen, problems


async def _clients(connections: Connections, context: CallContext) -> Sequence[ConnectionRecord]:
    try:
        return await context.deadline.wait_for(connections.clients(context.principal.name))
    except NotConfigured:
        # Without storage nobody has connections, and chat goes on with the operator's.
        return []


async def _tools_of(
    connections: Connections, source: _Source, context: CallContext
) -> Listing | GatewayError:
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
        return error


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
        # OpenAI takes no schema of an object without properties.
        input_schema={"properties": {}, **(tool.get("inputSchema") or any_object())},
        output_schema=tool.get("outputSchema"),
        annotations=annotations,
    )
