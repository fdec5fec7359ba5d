"""Clients of the Tasks extension: the official one, and one that shows each message as it came."""

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import httpx2
import jsonschema  # type: ignore[import-untyped]
import mcp_types as types
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim

from tests.mcp.support import HEADERS, answers, request
from tests.waiting import until

EXTENSION = "io.modelcontextprotocol/tasks"
REVISION = "2026-07-28"
ENDED = ("completed", "failed", "cancelled")
_SCHEMA = json.loads(Path(__file__).with_name("tasks_schema.json").read_text())
_RESULTS = {
    "tasks/get": "GetTaskResult",
    "tasks/update": "UpdateTaskResult",
    "tasks/cancel": "CancelTaskResult",
}


class TaskClient:
    """A client of revision 2026-07-28 whose results have to be as the published schema says.

    Args:
        http: A client of the app, with a key.
        capabilities: What it declares with each request.
    """

    def __init__(self, http: httpx2.AsyncClient, *, declares: bool = True) -> None:
        self.http = http
        self._capabilities: dict[str, Any] = {"extensions": {EXTENSION: {}}} if declares else {}

    async def send(
        self, method: str, params: dict[str, Any], headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Sends a request and returns the answer, a result or an error."""
        name = params.get("taskId", params.get("name", ""))
        meta = {
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientCapabilities": self._capabilities,
            **params.get("_meta", {}),
        }
        routing = {"MCP-Protocol-Version": REVISION, "Mcp-Method": method, "Mcp-Name": name}
        response = await self.http.post(
            "/mcp",
            json=request(1, method, {**params, "_meta": meta}),
            headers={**HEADERS, **routing, **(headers or {})},
        )
        answer: dict[str, Any] = answers(response)[-1]
        result = answer.get("result", {})
        definition = _RESULTS.get(method)
        if method == "tools/call" and result.get("resultType") == "task":
            definition = "CreateTaskResult"
        if "result" in answer and definition is not None:
            jsonschema.validate(result, {**_SCHEMA, "$ref": f"#/$defs/{definition}"})
        return answer

    async def result(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Sends a request that has to succeed, and returns its result."""
        answer = await self.send(method, params)
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def error(self, method: str, params: dict[str, Any], **headers: str) -> dict[str, Any]:
        """Sends a request that has to fail, and returns its error."""
        answer = await self.send(method, params, headers)
        assert "error" in answer, answer
        error: dict[str, Any] = answer["error"]
        return error

    async def call(self, tool: str, key: str | None = None, **arguments: Any) -> dict[str, Any]:
        """Calls a tool, with an idempotency key if one is given."""
        meta = {"idempotency-key": key} if key else {}
        return await self.result(
            "tools/call", {"name": tool, "arguments": arguments, "_meta": meta}
        )

    async def begin(self, tool: str, key: str | None = None, **arguments: Any) -> str:
        """Calls a tool that has to answer with a task, and returns the task's id."""
        created = await self.call(tool, key, **arguments)
        assert created["resultType"] == "task", created
        task_id: str = created["taskId"]
        return task_id

    async def get(self, task_id: str) -> dict[str, Any]:
        """Returns a task."""
        return await self.result("tasks/get", {"taskId": task_id})

    async def end(self, task_id: str, pause: float = 0.05) -> dict[str, Any]:
        """Returns a task once it has ended."""
        return await until(
            lambda: self.get(task_id), lambda task: task["status"] in ENDED, pause=pause
        )

    async def cancel(self, task_id: str) -> dict[str, Any]:
        """Cancels a task."""
        return await self.result("tasks/cancel", {"taskId": task_id})


class _CreatedTask(types.Result):
    result_type: Literal["task"]
    task_id: str


class _GetTaskParams(types.RequestParams):
    task_id: str


class _GetTask(types.Request[_GetTaskParams, Literal["tasks/get"]]):
    name_param: ClassVar[str | None] = "taskId"
    method: Literal["tasks/get"] = "tasks/get"
    params: _GetTaskParams


class _Task(types.Result):
    status: str
    status_message: str
    result: dict[str, Any] | None = None


class TaskSupport(ClientExtension):
    """The extension for the official client: it asks until the task has its result.

    Attributes:
        seen: The tasks' messages, in the order in which they were seen.
    """

    identifier = EXTENSION

    def __init__(self) -> None:
        self.seen: list[str] = []

    def claims(self) -> list[ResultClaim[Any]]:
        """Takes results that are tasks."""
        return [ResultClaim(result_type="task", model=_CreatedTask, resolve=self._resolve)]

    async def _resolve(self, created: _CreatedTask, context: ClaimContext) -> types.CallToolResult:
        params = _GetTaskParams(task_id=created.task_id)

        async def look() -> _Task:
            task = await context.session.send_request(_GetTask(params=params), _Task)
            self.seen.append(task.status_message)
            return task

        task = await until(look, lambda task: task.status != "working", pause=0.05)
        return types.CallToolResult.model_validate(task.result)
