"""`GET /tools`, `POST /tools/<name>` for each tool, and `GET /server_time`."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from shared.auth import Guard
from shared.routes.doors import MAX_LONG_BODY_BYTES, Context, guarded
from shared.routes.errors import COMMON_ERRORS
from shared.telemetry import current_record
from shared.tools import Tool, ToolRegistry
from shared.tools.clock import ServerTime, current_server_time


class ToolDescription(BaseModel):
    """One tool, with the names that MCP uses."""

    model_config = ConfigDict(populate_by_name=True)

    name: str
    title: str
    description: str
    input_schema: dict[str, Any] = Field(serialization_alias="inputSchema")
    output_schema: dict[str, Any] | None = Field(serialization_alias="outputSchema")
    annotations: dict[str, Any]
    paid: bool = Field(description="Whether each call costs the operator money.")


class ToolList(BaseModel):
    """Answer of `GET /tools`."""

    tools: list[ToolDescription]
    count: int


def tools_router(registry: ToolRegistry, guard: Guard) -> APIRouter:
    """Returns the routes on our own tools; a new tool has its route without more ado."""
    router = APIRouter(tags=["tools"], route_class=guarded(guard, "tools"), responses=COMMON_ERRORS)

    @router.get("/tools", name="tools_list")
    async def list_tools(context: Context) -> ToolList:
        """Lists the tools with their schemas."""
        specs = await registry.list(context)
        tools = [
            ToolDescription(
                name=spec.name,
                title=spec.title,
                description=spec.description,
                input_schema=spec.input_schema,
                output_schema=spec.output_schema,
                annotations=dict(spec.annotations),
                paid=spec.is_paid,
            )
            for spec in specs
        ]
        return ToolList(tools=tools, count=len(tools))

    @router.get("/server_time", name="server_time")
    async def server_time() -> ServerTime:
        """Returns the current time of this server in UTC."""
        return current_server_time()

    long_route = guarded(guard, "tools", MAX_LONG_BODY_BYTES)
    for tool in registry:
        router.add_api_route(
            f"/tools/{tool.name}",
            _endpoint(tool),
            methods=["POST"],
            route_class_override=long_route if tool.takes_long_text else None,
            name=f"tool_{tool.name}",
            summary=tool.title,
            description=tool.description,
            response_model=tool.result_type,
            dependencies=[Depends(_noting(tool.name))],
            status_code=_status(tool),
        )
    return router


def _status(tool: Tool) -> int:
    return 200 if tool.job_path is None else 202


def _headers(tool: Tool, result: dict[str, Any]) -> dict[str, str]:
    headers = {}
    if tool.job_path is not None:
        headers["Location"] = tool.job_path.format_map(result)
    if "retry_after" in result:
        headers["Retry-After"] = str(result["retry_after"])
    return headers


def _noting(tool_name: str) -> Callable[[], Awaitable[None]]:
    async def note() -> None:
        current_record().add_tool(tool_name)

    return note


def _endpoint(tool: Tool) -> Callable[..., Any]:
    model = tool.arguments_model
    is_optional = not any(field.is_required() for field in model.model_fields.values())

    async def call(context: Context, arguments: Any) -> JSONResponse:
        # The result has been checked against its type already: a Response skips doing so again.
        result = await tool.call(arguments, context)
        return JSONResponse(result, _status(tool), _headers(tool, result))

    # FastAPI reads what it documents and checks from the annotations.
    call.__annotations__["arguments"] = Annotated[model, Body()]
    if is_optional:
        call.__defaults__ = (model(),)
    return call
