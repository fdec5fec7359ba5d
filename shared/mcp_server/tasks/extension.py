"""The Tasks extension of the protocol: a long call is answered with a task.

Only clients of revision 2026-07-28 that declare the extension get one. Progress goes into the task's
``statusMessage``: the extension has no progress notifications for tasks.
Source: https://github.com/modelcontextprotocol/ext-tasks, specification/draft/tasks.md
"""

from collections.abc import Callable
from typing import Any, Literal

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from shared.context import CallContext
from shared.errors import GatewayError, InvalidRequest, failure_of
from shared.mcp_server.failures import protocol_errors, tool_error
from shared.mcp_server.results import Results
from shared.mcp_server.tasks.records import TTL, TaskRecord, TaskStatus
from shared.mcp_server.tasks.service import POLL_SECONDS, Look, Tasks
from shared.storage import iso_utc, made_at
from shared.telemetry import current_record
from shared.tools import JsonObject

EXTENSION = "io.modelcontextprotocol/tasks"
_REQUIRED: JsonObject = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
_REFUSED = failure_of(InvalidRequest.status, InvalidRequest.code)

RequestContext = Any
"""The SDK's ``ServerRequestContext``; its ``request`` is the HTTP request, None over stdio."""

MakeContext = Callable[[RequestContext], CallContext]


class TaskParams(types.RequestParams):
    """Parameters of ``tasks/get`` and ``tasks/cancel``."""

    task_id: str


class UpdateParams(TaskParams):
    """Parameters of ``tasks/update``."""

    input_responses: dict[str, Any]


class TaskResult(types.Result):
    """A task as clients get it: ``task`` in place of a call's result, ``complete`` of ``tasks/get``."""

    result_type: Literal["task", "complete"]
    task_id: str
    status: TaskStatus
    status_message: str
    created_at: str
    last_updated_at: str
    ttl_ms: int
    poll_interval_ms: int
    result: JsonObject | None = None
    error: JsonObject | None = None


class TasksExtension:
    """Answers calls with tasks, and the requests about them.

    Args:
        tasks: The tasks.
        results: Makes the results of completed ones.
        make_context: Makes the context of one request.
    """

    def __init__(self, tasks: Tasks, results: Results, make_context: MakeContext) -> None:
        self._tasks = tasks
        self._results = results
        self._make_context = make_context

    def install(self, server: Server[Any]) -> None:
        """Adds the extension to a server; its handler of ``tools/call`` asks `begin` first."""
        server.extensions[EXTENSION] = {}
        server.add_request_handler("tasks/get", TaskParams, self.get)
        server.add_request_handler("tasks/update", UpdateParams, self.update)
        server.add_request_handler("tasks/cancel", TaskParams, self.cancel)

    async def begin(
        self, request: RequestContext, params: types.CallToolRequestParams
    ) -> TaskResult | types.CallToolResult | None:
        """Begins a task where the client and the tool allow for one.

        Returns:
            The answer: the task, or why it cannot begin; None where the tool is to be called.
        """
        if not (_declares(request) and self._tasks.may_begin(params.name)):
            return None
        try:
            context = self._make_context(request)
            async with context.scope():
                task = await self._tasks.begin(params.name, params.arguments or {}, context)
        except GatewayError as error:
            return tool_error(error.detail, error.failure, params.name)
        if task is None:
            return None
        current_record().add_tool(params.name)
        return _shown("task", task, POLL_SECONDS)

    async def get(self, request: RequestContext, params: TaskParams) -> TaskResult:
        """Answers ``tasks/get``: how far a task is, in the end with the result of its call."""
        _check(request, params)
        with protocol_errors():
            context = self._make_context(request)
            async with context.scope():
                look = await self._tasks.look(params.task_id, context)
                return await self._detailed(look, request, context)

    async def update(self, request: RequestContext, params: UpdateParams) -> types.EmptyResult:
        """Answers ``tasks/update``: no task of ours asks for input, so that no response is expected."""
        _check(request, params)
        with protocol_errors():
            context = self._make_context(request)
            async with context.scope():
                await self._tasks.check(params.task_id, context)
        return types.EmptyResult()

    async def cancel(self, request: RequestContext, params: TaskParams) -> types.EmptyResult:
        """Answers ``tasks/cancel``; of a task that has ended, too."""
        _check(request, params)
        with protocol_errors():
            context = self._make_context(request)
            async with context.scope():
                await self._tasks.cancel(params.task_id, context)
        return types.EmptyResult()

    async def _detailed(
        self, look: Look, request: RequestContext, context: CallContext
    ) -> TaskResult:
        task = look.task
        shown = _shown("complete", task, look.poll_seconds)
        if task.status == "failed":
            shown.error = {"code": types.INTERNAL_ERROR, "message": task.error}
        if task.status != "completed":
            return shown
        result = await self._tasks.result(task, context)
        if result.failure is not None:
            current_record().fail(result.failure, task.tool)
        made = await self._results.show(result, request.protocol_version, context)
        made.is_error = result.is_error
        shown.result = made.model_dump(by_alias=True, mode="json", exclude_none=True)
        return shown


def _declares(request: RequestContext) -> bool:
    """Returns whether the client has declared the extension with this request."""
    if request.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return False
    capabilities = request.session.client_capabilities
    return EXTENSION in ((capabilities and capabilities.extensions) or {})


def _check(request: RequestContext, params: TaskParams) -> None:
    """Checks that a request about a task may be answered.

    Raises:
        MCPError: The revision has no tasks, the client has not declared the extension, or the header
            ``Mcp-Name``, which routes requests about tasks, is not the id of the task.
    """
    if request.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        raise _refusal(types.METHOD_NOT_FOUND, "Method not found")
    if not _declares(request):
        text = f"Declare the extension {EXTENSION} in the client capabilities of this request."
        raise _refusal(types.MISSING_REQUIRED_CLIENT_CAPABILITY, text, _REQUIRED)
    if request.request is None:
        return
    if decode_header_value(request.request.headers.get(MCP_NAME_HEADER)) != params.task_id:
        text = f"The header {MCP_NAME_HEADER} must hold the taskId of the request."
        raise _refusal(types.HEADER_MISMATCH, text)


def _refusal(code: int, text: str, data: JsonObject | None = None) -> MCPError:
    current_record().fail(_REFUSED)
    return MCPError(code, text, data)


def _shown(
    result_type: Literal["task", "complete"], task: TaskRecord, poll_seconds: float
) -> TaskResult:
    return TaskResult(
        result_type=result_type,
        task_id=task.id,
        status=task.status,
        status_message=task.message,
        created_at=iso_utc(made_at(task.id)),
        last_updated_at=iso_utc(task.updated_at),
        ttl_ms=int(TTL.total_seconds() * 1000),
        poll_interval_ms=int(poll_seconds * 1000),
    )
