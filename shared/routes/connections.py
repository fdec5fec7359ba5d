"""`/mcp/…`: connections to other MCP servers."""

from time import monotonic
from typing import Any

from fastapi import APIRouter, Request, Response

from shared.auth import Guard
from shared.connections import (
    AuthorizationNeeded,
    Connections,
    ConnectionTimeout,
    ConnectRequest,
    Listing,
)
from shared.errors import DeadlineExceeded
from shared.routes.authorization import authorization_router, callback_url
from shared.routes.body import MAX_BODY_BYTES, MAX_LONG_BODY_BYTES
from shared.routes.connection_bodies import (
    CONNECTED,
    AuthorizationAnswer,
    CallToolAnswer,
    CallToolRequest,
    ClientAnswer,
    ClientId,
    ClientMetadata,
    ClientsAnswer,
    ClientSummary,
    ConfirmRequest,
    ConnectAnswer,
    DisconnectAnswer,
    DisconnectRequest,
    GetPromptRequest,
    JsonObject,
    PromptAnswer,
    PromptsAnswer,
    ReadResourceRequest,
    ResourceAnswer,
    ResourcesAnswer,
    ToolsAnswer,
)
from shared.routes.errors import document_errors
from shared.routes.guarded_route import (
    Context,
    RouteHandler,
    guarded,
)
from shared.routes.routing import DeferredRoute

_ERRORS = document_errors(404, 408, 409, 502)
_CUT = "; it offers more than is listed here"


class _TimingOutRoute(DeferredRoute):
    """A route that answers 408 where others answer 504: what is slow here is the caller's server."""

    def get_route_handler(self) -> RouteHandler:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except ConnectionTimeout:
                raise
            except DeadlineExceeded as error:
                raise ConnectionTimeout(error.detail) from error

        return handle


def connections_router(
    connections: Connections, guard: Guard, public_origin: str | None = None
) -> APIRouter:
    """Returns the routes of the manager.

    Args:
        connections: The manager.
        guard: The guard that authenticates and authorizes.
        public_origin: Scheme and host that browsers know this app by; None to take the request's.
    """
    router = APIRouter()
    router.routes.extend(_manager_router(connections, guard, public_origin).routes)
    router.routes.extend(_use_router(connections, guard).routes)
    router.routes.extend(authorization_router(connections, public_origin).routes)
    return router


def _guarded_router(guard: Guard, max_body_bytes: int = MAX_BODY_BYTES) -> APIRouter:
    guarded_route = guarded(guard, "connections", max_body_bytes)
    # The body is read in time too, so the guard runs within.
    route_class = type("ManagerRoute", (_TimingOutRoute, guarded_route), {})
    return APIRouter(route_class=route_class, responses=_ERRORS, tags=["connections"])


def _manager_router(connections: Connections, guard: Guard, public_origin: str | None) -> APIRouter:
    router = _guarded_router(guard)

    @router.post(
        "/mcp/connect",
        name="mcp_connect",
        summary="Connect to an MCP server",
        status_code=201,
        responses={202: {"model": AuthorizationAnswer}},
    )
    async def connect(
        body: ConnectRequest, context: Context, request: Request, response: Response
    ) -> ConnectAnswer | AuthorizationAnswer:
        """Connects to an MCP server."""
        url = callback_url(request, public_origin)
        made = await connections.connect(context.principal.name, body, url)
        if isinstance(made, AuthorizationNeeded):
            response.status_code = 202
            pending = made.record.pending
            return AuthorizationAnswer(
                client_id=made.record.id,
                authorization_url=made.url,
                expires_at=pending and pending.expires_at,
            )
        return ConnectAnswer(
            client_id=made.record.id,
            tools=made.offer.tools,
            resources=made.offer.resources,
            prompts=made.offer.prompts,
            message=CONNECTED + (_CUT if made.offer.is_cut else ""),
        )

    @router.post("/mcp/oauth/confirm", name="mcp_oauth_confirm", summary="Confirm an authorization")
    async def confirm(body: ConfirmRequest, context: Context) -> ClientAnswer:
        """Ends an authorization with the 8 characters that the browser was shown.

        Whoever started it has ten minutes and five tries; then it is over.
        """
        record = await connections.confirm_authorization(
            context.principal.name, body.client_id, body.code
        )
        return ClientAnswer(client_id=record.id, metadata=ClientMetadata.of(record))

    @router.post("/mcp/disconnect", name="mcp_disconnect", summary="Disconnect from an MCP server")
    async def disconnect(body: DisconnectRequest, context: Context) -> DisconnectAnswer:
        """Ends a connection."""
        await connections.disconnect(context.principal.name, body.client_id)
        return DisconnectAnswer(client_id=body.client_id)

    @router.get("/mcp/clients", name="mcp_clients", summary="List connections")
    async def clients(context: Context) -> ClientsAnswer:
        """Lists the caller's connections, oldest first."""
        records = await connections.clients(context.principal.name)
        summaries = [
            ClientSummary(client_id=record.id, **ClientMetadata.of(record).model_dump())
            for record in records
        ]
        return ClientsAnswer(clients=summaries, count=len(summaries))

    @router.get("/mcp/client/{client_id}", name="mcp_client", summary="Show a connection")
    async def client(client_id: str, context: Context) -> ClientAnswer:
        """Shows one connection."""
        record = await connections.client(context.principal.name, client_id)
        return ClientAnswer(client_id=record.id, metadata=ClientMetadata.of(record))

    return router


def _use_router(connections: Connections, guard: Guard) -> APIRouter:
    router = _guarded_router(guard)
    router_for_calls = _guarded_router(guard, MAX_LONG_BODY_BYTES)

    @router.get(
        "/mcp/list_tools",
        name="mcp_list_tools",
        summary="List a connection's tools",
        response_model_exclude_none=True,
    )
    async def list_tools(client_id: ClientId, context: Context) -> ToolsAnswer:
        """Lists the tools of a connection's server."""
        tools = await connections.list_tools(context.principal.name, client_id)
        return ToolsAnswer(tools=tools, **_about(client_id, tools))

    @router_for_calls.post(
        "/mcp/call_tool", name="mcp_call_tool", summary="Call a connection's tool"
    )
    async def call_tool(body: CallToolRequest, context: Context) -> CallToolAnswer:
        """Calls a tool of a connection's server."""
        started = monotonic()
        result = await connections.call_tool(
            context.principal.name,
            body.client_id,
            body.tool_name,
            body.arguments,
            timeout=body.timeout,
        )
        return _call_answer(result, monotonic() - started)

    @router.get(
        "/mcp/list_resources",
        name="mcp_list_resources",
        summary="List a connection's resources",
        response_model_exclude_none=True,
    )
    async def list_resources(client_id: ClientId, context: Context) -> ResourcesAnswer:
        """Lists the resources of a connection's server."""
        resources = await connections.list_resources(context.principal.name, client_id)
        return ResourcesAnswer(resources=resources, **_about(client_id, resources))

    @router.post(
        "/mcp/read_resource", name="mcp_read_resource", summary="Read a connection's resource"
    )
    async def read_resource(body: ReadResourceRequest, context: Context) -> ResourceAnswer:
        """Reads a resource of a connection's server."""
        result = await connections.read_resource(context.principal.name, body.client_id, body.uri)
        contents = result.get("contents", [])
        return ResourceAnswer(
            client_id=body.client_id,
            uri=body.uri,
            content=contents[0] if contents else {},
            contents=contents,
        )

    @router.get(
        "/mcp/list_prompts",
        name="mcp_list_prompts",
        summary="List a connection's prompts",
        response_model_exclude_none=True,
    )
    async def list_prompts(client_id: ClientId, context: Context) -> PromptsAnswer:
        """Lists the prompts of a connection's server."""
        prompts = await connections.list_prompts(context.principal.name, client_id)
        return PromptsAnswer(prompts=prompts, **_about(client_id, prompts))

    @router.post("/mcp/get_prompt", name="mcp_get_prompt", summary="Get a connection's prompt")
    async def get_prompt(body: GetPromptRequest, context: Context) -> PromptAnswer:
        """Gets a prompt of a connection's server."""
        content = await connections.get_prompt(
            context.principal.name,
            body.client_id,
            body.prompt_name,
            body.arguments,
        )
        return PromptAnswer(client_id=body.client_id, prompt_name=body.prompt_name, content=content)

    router.routes.extend(router_for_calls.routes)
    return router


def _about(client_id: str, listing: Listing) -> dict[str, Any]:
    """Returns what the answers with lists have in common."""
    return {
        "client_id": client_id,
        "count": len(listing),
        "truncated": listing.is_cut or None,
        "left_out": listing.left_out or None,
        "changed": listing.changed or None,
    }


def _call_answer(result: JsonObject, seconds: float) -> CallToolAnswer:
    content = result.get("content", [])
    is_error = bool(result.get("isError"))
    text = "\n".join(str(part["text"]) for part in content if part.get("type") == "text")
    return CallToolAnswer(
        status="error" if is_error else "success",
        result=None if is_error else result.get("structuredContent") or {"content": content},
        content=content,
        error=(text or "The tool failed.") if is_error else None,
        execution_time=round(seconds, 3),
    )
