"""The tools of connections as the agent takes them, for one request."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shared.connections.errors import (
    ConnectionTimeout,
    NotAuthorized,
    ServerRefused,
    ServerUnavailable,
)
from shared.connections.operations import JsonObject, Listing, as_tool_result
from shared.connections.records import ConnectionRecord, free_prefix, plain_prefix, prefix_of
from shared.connections.selection import MAX_NAME_CHARS, Selection, Source
from shared.connections.service import Connections
from shared.context import CallContext
from shared.deadline import remaining_seconds, time_limit
from shared.errors import (
    DeadlineExceeded,
    GatewayError,
    NotConfigured,
    NotFound,
)
from shared.parallel import gather_limited
from shared.tools import ToolResult, ToolSpec

LIST_SECONDS = 10.0
MAX_LISTS_AT_ONCE = 20
"""Maximum servers that are asked for their tools at a time."""

ProblemReason = Literal["unavailable", "not_authorized", "timed_out", "refused", "left_out"]
_FOR_MODEL: dict[ProblemReason, str] = {
    "unavailable": "The tools of the connection '{name}' are missing now: its server failed.",
    "not_authorized": "The tools of the connection '{name}' are missing now: it is not authorized.",
    "timed_out": "The tools of the connection '{name}' are missing now: its server is too slow.",
    "refused": "The tools of the connection '{name}' are missing now: its server refused to list them.",
    "left_out": "Some tools of the connection '{name}' are left out.",
}


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


class ConnectionToolset:
    """The tools of some connections, as they were when the request began: a `Toolset`.

    Attributes:
        problems: Connections that could not be asked. The others' tools are there all the same. It
            grows where a call finds a server gone.
    """

    def __init__(
        self,
        connections: Connections,
        tools: Mapping[str, tuple[ToolSpec, Source, str]],
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
                report_progress=context.report_progress,
            )
        except GatewayError as error:
            if isinstance(error, DeadlineExceeded) and not isinstance(error, ConnectionTimeout):
                raise
            if isinstance(error, ServerUnavailable | NotAuthorized):
                self._note_problem(source, error)
            return ToolResult(error.detail, is_error=True)
        return as_tool_result(result)

    def _note_problem(self, source: Source, error: GatewayError) -> None:
        if all(problem.client_id != source.client_id for problem in self.problems):
            self.problems.append(_problem(source, error.detail, _reason(error)))


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
        limit: Maximum tools; what is left out is among the problems.

    Raises:
        NotFound: A wanted connection does not exist.
        InvalidRequest: The named tools are too long together.
        DeadlineExceeded: The request's budget is used up.
    """
    sources, problems = await _sources(connections, context, wanted)
    selection = Selection(sources, named, limit)

    async def ask(source: Source) -> GatewayError | None:
        result = await _tools_of(connections, source, context)
        if isinstance(result, GatewayError):
            return result
        selection.add(source, result)
        return None

    failures = await gather_limited(MAX_LISTS_AT_ONCE, map(ask, sources))
    for source, failure in zip(sources, failures, strict=True):
        if failure is not None:
            problems.append(_problem(source, _detail(failure), _reason(failure)))
        elif sentences := selection.left_out(source):
            problems.append(_problem(source, " ".join(sentences), "left_out"))
    return ConnectionToolset(connections, selection.tools(), problems)


def _problem(source: Source, detail: str, reason: ProblemReason) -> ConnectionProblem:
    return ConnectionProblem(source.client_id, source.name, detail, reason)


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
) -> tuple[list[Source], list[ConnectionProblem]]:
    if wanted == "none" or (wanted is not None and not wanted):
        return [], []
    sources: list[Source] = []

    def add(client_id: str, name: str, prefix: str) -> None:
        taken = {source.prefix for source in sources}
        sources.append(Source(client_id, name, free_prefix(prefix, taken)))

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
        return await connections.clients(context.principal.name)
    except NotConfigured:
        # Without storage there are no stored connections, and chat goes on with the operator's.
        return []


async def _tools_of(
    connections: Connections, source: Source, context: CallContext
) -> Listing | GatewayError:
    try:
        async with time_limit(LIST_SECONDS):
            return await connections.cached_tools(context.principal.name, source.client_id)
    except GatewayError as error:
        if not remaining_seconds():
            raise
        return error
