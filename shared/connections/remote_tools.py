"""The tools of a caller's connections, as a `Toolset`, for one request."""

from collections.abc import Collection, Mapping, Sequence

from shared.connections.client.cleaning import clean
from shared.connections.client.operations import JsonObject, Listing, as_tool_result
from shared.connections.errors import ConnectionTimeout, NotAuthorized, ServerUnavailable
from shared.connections.service import CALL_SECONDS, Connections
from shared.connections.sources import ConnectionProblem, Source, Wanted
from shared.connections.tool_budget import MAX_CALL_BYTES, ToolBudget
from shared.context import CallContext
from shared.deadline import remaining_seconds
from shared.errors import DeadlineExceeded, GatewayError, NotFound
from shared.parallel import gather_limited
from shared.telemetry import current_record
from shared.tools import ToolResult, ToolSpec

MAX_LISTS_AT_ONCE = 40
"""Maximum servers that are asked for their tools at a time."""

SHOWN_NAME_CHARS = 64


class RemoteTools:
    """The tools of some connections, as they were when the request began: a `Toolset`.

    Attributes:
        problems: Connections that could not be asked. The others' tools are there all the same. It
            grows where a call finds a server gone.
        is_exceeded: Whether tools are left out because all connections together have too many.
    """

    def __init__(
        self,
        connections: Connections,
        tools: Mapping[str, tuple[ToolSpec, Source, str]],
        problems: list[ConnectionProblem],
        *,
        is_exceeded: bool = False,
    ) -> None:
        self._connections = connections
        self._tools = tools
        self.problems = problems
        self.is_exceeded = is_exceeded

    @property
    def specs(self) -> Sequence[ToolSpec]:
        """The tools, each named ``<connection>__<tool>``."""
        return [spec for spec, _, _ in self._tools.values()]

    async def list(self, context: CallContext) -> Sequence[ToolSpec]:
        """Returns the tools."""
        return self.specs

    async def call(self, name: str, arguments: JsonObject, context: CallContext) -> ToolResult:
        """Calls a tool; what its server does wrong is a result with ``is_error``.

        Raises:
            NotFound: There is no such tool.
            DeadlineExceeded: The request's budget is used up.
        """
        if name not in self._tools:
            raise unknown_tool(name)
        _, source, tool = self._tools[name]
        try:
            result = await self._connections.call_tool(
                context.principal.name,
                source.client_id,
                tool,
                arguments,
                timeout=max(CALL_SECONDS, context.deadline.remaining()),
                report_progress=context.report_progress,
            )
        except GatewayError as error:
            if isinstance(error, DeadlineExceeded) and not isinstance(error, ConnectionTimeout):
                raise
            if isinstance(error, ServerUnavailable | NotAuthorized):
                self._note_problem(source, error)
            return ToolResult(error.detail, is_error=True, error=error)
        return as_tool_result(result, source.prefix)

    def _note_problem(self, source: Source, error: GatewayError) -> None:
        if all(problem.client_id != source.client_id for problem in self.problems):
            self.problems.append(ConnectionProblem.of(source, error))


async def open_remote_tools(
    connections: Connections,
    context: CallContext,
    wanted: Wanted = None,
    *,
    named: Collection[str] | None = None,
    limit: int | None = None,
    max_bytes: int = MAX_CALL_BYTES,
) -> RemoteTools:
    """Asks the caller's connections, and the operator's, for their tools.

    What would make the definitions of all tools too long is left out, and is among the problems.

    Args:
        connections: The manager.
        context: Whose connections, and until when.
        wanted: Their ids or names; None for all.
        named: The tools that will be offered; None for all.
        limit: Maximum tools; what is left out is among the problems.
        max_bytes: Maximum bytes of the definitions of all tools.

    Raises:
        NotFound: A wanted connection does not exist.
        InvalidRequest: The named tools are too long together.
        DeadlineExceeded: The request's budget is used up.
    """
    principal = context.principal.name
    sources, problems = await connections.sources.list(principal, wanted)
    budget = ToolBudget(sources, named, limit, max_bytes)

    async def ask(source: Source) -> GatewayError | None:
        result = await _tools_of(connections, source, principal)
        if isinstance(result, GatewayError):
            return result
        budget.add(source, result)
        return None

    failures = await gather_limited(MAX_LISTS_AT_ONCE, map(ask, sources))
    for source, failure in zip(sources, failures, strict=True):
        if failure is not None:
            problems.append(ConnectionProblem.of(source, failure))
        elif sentences := budget.left_out(source):
            detail = " ".join(sentences)
            problem = ConnectionProblem(source.client_id, source.name, detail, "left_out")
            problems.append(problem)
    return RemoteTools(connections, budget.tools(), problems, is_exceeded=budget.is_exceeded)


async def find_remote_tool(
    connections: Connections, name: str, context: CallContext, wanted: Wanted = None
) -> RemoteTools:
    """Returns one tool, without asking other servers than its own.

    Args:
        connections: The manager.
        name: The name, with that of its connection.
        context: Whose connections, and until when.
        wanted: The connections that it may be of; None for all.

    Raises:
        NotFound: There is no such tool.
        GatewayError: Its server failed or refused.
        DeadlineExceeded: The request's budget is used up.
    """
    principal = context.principal.name
    sources = await connections.sources.of_tool(principal, name, wanted)
    budget = ToolBudget(sources, [name], None)
    for source in sources:
        budget.add(source, await connections.cached("tools", principal, source.client_id))
    tools = budget.tools()
    if name not in tools:
        raise unknown_tool(name)
    # A name that is listed: what else a caller writes there stays out of the log.
    current_record().add_tool(name)
    return RemoteTools(connections, {name: tools[name]}, [])


def unknown_tool(name: str) -> NotFound:
    """Returns the error for a name that no tool of a connection has."""
    return NotFound(
        f"There is no tool '{clean(name, SHOWN_NAME_CHARS)}'. Tools of connections are named "
        "CONNECTION__TOOL; GET /mcp/clients lists your connections."
    )


async def _tools_of(
    connections: Connections, source: Source, principal: str
) -> Listing | GatewayError:
    try:
        return await connections.cached("tools", principal, source.client_id)
    except GatewayError as error:
        if not remaining_seconds():
            raise
        return error
