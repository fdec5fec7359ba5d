"""`GET /tools`, `POST /tools/<name>` for each tool, and the GET routes that tools have."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.auth import Guard
from shared.connections import ConnectionTimeout
from shared.errors import DeadlineExceeded, NotFound, cut_text
from shared.routes.body import MAX_BODY_BYTES, MAX_LONG_BODY_BYTES, CheckedRequest
from shared.routes.connection_query import Connections as ConnectionNames
from shared.routes.connection_query import named_connections
from shared.routes.errors import PROVIDER_STATUSES, document_errors
from shared.routes.guarded_route import Context, call_context, guarded
from shared.routes.routing import DeferredRoute
from shared.selection import ToolSelector
from shared.telemetry import current_record
from shared.tools import CONNECTION_SEPARATOR, GetRoute, JsonObject, Tool, ToolRegistry

MAX_SHOWN_CHARS = 64
"""Maximum characters of an unknown name in an error."""

_IDS = re.compile(r"\bids?\b", re.IGNORECASE)
"""Says that a parameter names something stored, which may be unknown."""


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


class MissingTools(BaseModel):
    """A connection whose tools are missing."""

    client_id: str
    name: str
    detail: str
    reason: str


class ToolList(BaseModel):
    """Answer of `GET /tools`."""

    tools: list[ToolDescription]
    count: int
    connection_problems: list[MissingTools] | None = Field(
        None, description="Connections whose tools are missing; absent where there is none."
    )


def tools_router(registry: ToolRegistry, selector: ToolSelector, guard: Guard) -> APIRouter:
    """Returns the routes of tools: of our own, which follow from their traits, and of connections'.

    Args:
        registry: Our own tools.
        selector: Selects the tools that a caller has.
        guard: The guard that authenticates and authorizes.
    """
    router = APIRouter(route_class=guarded(guard, "tools"))

    @router.get(
        "/tools",
        name="tools_list",
        summary="List tools",
        tags=["tools"],
        response_model_exclude_unset=True,
        responses=document_errors(404),
    )
    async def list_tools(
        context: Context, request: Request, connections: ConnectionNames = None
    ) -> ToolList:
        """Lists our own tools and those of the caller's connections, with their schemas."""
        narrowed = replace(context, connections=named_connections(request))
        selection = await selector.every_tool(narrowed)
        specs = selection.specs
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
        if not selection.problems:
            return ToolList(tools=tools, count=len(tools))
        problems = [MissingTools(**asdict(problem)) for problem in selection.problems]
        return ToolList(tools=tools, count=len(tools), connection_problems=problems)

    for tool in registry:
        router.routes.append(_post_route(tool, guard))
        if tool.traits.get_route is not None:
            router.routes.append(_get_route(tool, tool.traits.get_route, guard))
    # The last one: the paths of our own tools come before it.
    _add_connections_route(router, selector, guarded(guard, "tools", MAX_LONG_BODY_BYTES))
    return router


def _add_connections_route(
    router: APIRouter, selector: ToolSelector, route_class: type[DeferredRoute]
) -> None:
    async def call_tool(
        name: Annotated[str, Path(description="CONNECTION__TOOL, as GET /tools lists it.")],
        context: Context,
        arguments: JsonObject | None = None,
    ) -> JsonObject:
        """Calls a tool of one of the caller's connections, or of the operator's servers.

        The body are the tool's arguments. The answer is its structured result, or `content` with its
        parts where it has none. What the tool calls an error is 400, with its words.
        """
        if CONNECTION_SEPARATOR not in name:
            raise NotFound(
                f"There is no tool '{cut_text(name, MAX_SHOWN_CHARS)}'. GET /tools lists the tools."
            )
        try:
            tools = await selector.find(name, context)
            result = await tools.call(name, arguments or {}, context)
            if result.error is not None:
                raise result.error
        except ConnectionTimeout as error:
            # 408 would say that the caller was too slow.
            raise DeadlineExceeded(error.detail) from error
        return result.structured or {"content": [*(result.content or ())]}

    router.add_api_route(
        "/tools/{name}",
        call_tool,
        methods=["POST"],
        route_class_override=route_class,
        name="tool_of_connection",
        summary="Call a connection's tool",
        tags=["tools"],
        responses=document_errors(404, *PROVIDER_STATUSES),
    )


def _post_route(tool: Tool, guard: Guard) -> DeferredRoute:
    status = 200 if tool.traits.job is None else 202

    async def call(context: Context, arguments: Any) -> JSONResponse:
        # The result has been checked against its type already: a Response skips doing so again.
        result = await tool.call(arguments, context)
        return JSONResponse(result, status, {**_location(tool, result), **_retry_after(result)})

    async def answer(request: CheckedRequest) -> Response | None:
        # Solving dependencies takes longer than a tool; for what is wrong FastAPI has the words.
        try:
            arguments = tool.arguments_model.model_validate(request.json_object)
        except ValidationError:
            return None
        current_record().add_tool(tool.name)
        return await call(await call_context(request), arguments)

    def describe() -> dict[str, Any]:
        model = tool.arguments_model
        # FastAPI reads what it documents and checks from the annotations.
        call.__annotations__["arguments"] = Annotated[model, Body()]
        if not any(field.is_required() for field in model.model_fields.values()):
            call.__defaults__ = (model(),)
        return _described(tool)

    limit = MAX_LONG_BODY_BYTES if tool.traits.long_text else MAX_BODY_BYTES
    return guarded(guard, "tools", limit, answer)(
        f"/tools/{tool.name}",
        call,
        methods=["POST"],
        name=f"tool_{tool.name}",
        tags=["tools"],
        summary=tool.traits.title,
        dependencies=[Depends(_record(tool))],
        status_code=status,
        openapi_extra={"x-idempotency-key": True} if tool.traits.idempotent_by_key else None,
        describe=describe,
    )


def _described(tool: Tool) -> dict[str, Any]:
    return {
        "description": tool.description,
        "response_model": tool.result_type,
        "responses": _errors(tool),
    }


def _get_route(tool: Tool, route: GetRoute, guard: Guard) -> DeferredRoute:
    async def get(context: Context, request: Request) -> JSONResponse:
        result = await tool.call(tool.check(request.path_params), context)
        return JSONResponse(result, headers=_retry_after(result))

    def describe() -> dict[str, Any]:
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": schema}
            for name, schema in tool.spec.input_schema.get("properties", {}).items()
        ]
        return _described(tool) | {
            "openapi_extra": {"parameters": parameters} if parameters else None
        }

    return guarded(guard, "tools")(
        route.path,
        get,
        methods=["GET"],
        name=route.name,
        tags=[route.tag],
        summary=tool.traits.title,
        describe=describe,
    )


def _errors(tool: Tool) -> dict[int | str, dict[str, Any]]:
    """Returns the errors that follow from the traits and parameters of a tool."""
    annotations, properties = tool.spec.annotations, tool.spec.input_schema.get("properties", {})
    statuses: set[int] = set()
    if annotations["openWorldHint"]:
        statuses |= {*PROVIDER_STATUSES}
    if tool.traits.idempotent_by_key or not annotations["readOnlyHint"]:
        statuses.add(409)
    if any(_IDS.search(each.get("description", "")) for each in properties.values()):
        statuses.add(404)
    return document_errors(*sorted(statuses))


def _location(tool: Tool, result: dict[str, Any]) -> dict[str, str]:
    job = tool.traits.job
    return {} if job is None else {"Location": job.path.format_map(result)}


def _retry_after(result: dict[str, Any]) -> dict[str, str]:
    return {"Retry-After": str(result["retry_after"])} if "retry_after" in result else {}


def _record(tool: Tool) -> Callable[[], Awaitable[None]]:
    # A dependency: also of calls whose arguments are refused.
    async def record() -> None:
        current_record().add_tool(tool.name)

    return record
