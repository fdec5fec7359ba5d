"""`/mcp/…`: connections to other MCP servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from html import escape
from time import monotonic
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from shared.auth import Guard
from shared.connections import (
    CLIENT_METADATA_PATH,
    AuthorizationNeeded,
    ConnectionRecord,
    Connections,
    ConnectionTimeout,
    ConnectRequest,
)
from shared.errors import DeadlineExceeded, GatewayError
from shared.routes.doors import Context, guarded
from shared.routes.errors import COMMON_ERRORS, ErrorBody

CALLBACK_PATH = "/mcp/oauth/callback"

_ERRORS = {
    **COMMON_ERRORS,
    408: {"model": ErrorBody, "description": "The server did not answer in time."},
}
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_CONNECTED = "Successfully connected to MCP server"
_CUT = "; it offers more than is listed here"

JsonObject = dict[str, Any]
ClientId = Annotated[str, Field(min_length=1, max_length=128, description="The connection.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    client_id: ClientId


class CallToolRequest(_Body):
    """A tool, its arguments, and how long it may take."""

    tool_name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: JsonObject = {}
    timeout: Annotated[float, Field(gt=0, le=230)] = 60


class ReadResourceRequest(_Body):
    """A resource."""

    uri: Annotated[str, Field(min_length=1, max_length=2048)]


class GetPromptRequest(_Body):
    """A prompt and its arguments."""

    prompt_name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: dict[str, str] = {}


class DisconnectRequest(_Body):
    """A connection to end."""


class ConnectAnswer(BaseModel):
    """A connection and what its server offers."""

    status: Literal["connected"] = "connected"
    client_id: str
    tools: list[JsonObject]
    resources: list[JsonObject]
    prompts: list[JsonObject]
    message: str = _CONNECTED


class AuthorizationAnswer(BaseModel):
    """A connection that waits for its user."""

    status: Literal["authorization_required"] = "authorization_required"
    client_id: str
    authorization_url: str
    expires_at: datetime | None
    message: str = "Open authorization_url in a browser within ten minutes, then use the client_id."


class _Listing(BaseModel):
    status: Literal["success"] = "success"
    client_id: str
    count: int
    truncated: Annotated[
        Literal[True] | None, Field(description="Given where the server has more than is listed.")
    ] = None


class ToolsAnswer(_Listing):
    """Tools of a connection's server."""

    tools: list[JsonObject]


class ResourcesAnswer(_Listing):
    """Resources of a connection's server."""

    resources: list[JsonObject]


class PromptsAnswer(_Listing):
    """Prompts of a connection's server."""

    prompts: list[JsonObject]


class CallToolAnswer(BaseModel):
    """What came of a call: ``result`` is the tool's structured content, else its content."""

    status: Literal["success", "error"]
    result: JsonObject | None
    content: list[JsonObject]
    error: str | None
    execution_time: float


class ResourceAnswer(BaseModel):
    """A resource: ``content`` is the first of its parts, ``contents`` are all."""

    status: Literal["success"] = "success"
    client_id: str
    uri: str
    content: JsonObject
    contents: list[JsonObject]


class PromptAnswer(BaseModel):
    """A prompt with its arguments filled in."""

    status: Literal["success"] = "success"
    client_id: str
    prompt_name: str
    content: JsonObject


class DisconnectAnswer(BaseModel):
    """A connection that has ended."""

    status: Literal["disconnected"] = "disconnected"
    client_id: str
    message: str = "Successfully disconnected from MCP server"


class ClientMetadata(BaseModel):
    """A connection without its secrets."""

    created_at: datetime
    transport: str
    auth_type: str
    name: str
    mcp_url: str | None
    command: str | None
    last_activity: datetime
    status: str

    @classmethod
    def of(cls, record: ConnectionRecord) -> "ClientMetadata":
        """Returns what may be shown of a record."""
        return cls.model_validate({name: getattr(record, name) for name in cls.model_fields})


class ClientSummary(ClientMetadata):
    """One connection of the list."""

    client_id: str


class ClientsAnswer(BaseModel):
    """All connections of the caller, oldest first."""

    status: Literal["success"] = "success"
    clients: list[ClientSummary]
    count: int


class ClientAnswer(BaseModel):
    """One connection."""

    status: Literal["success"] = "success"
    client_id: str
    metadata: ClientMetadata


@asynccontextmanager
async def _timeouts_as_408() -> AsyncIterator[None]:
    try:
        yield
    except ConnectionTimeout:
        raise
    except DeadlineExceeded as error:
        raise ConnectionTimeout(error.detail) from error


def connections_router(
    connections: Connections, guard: Guard, public_origin: str | None = None
) -> APIRouter:
    """Returns the routes of the manager.

    Args:
        connections: The manager.
        guard: Who decides who may come in.
        public_origin: Scheme and host that browsers know this app by; None to take the request's.
    """
    router = APIRouter(tags=["connections"])
    router.include_router(_manager_router(connections, guard, public_origin))
    router.include_router(_use_router(connections, guard))
    router.include_router(_open_router(connections, public_origin))
    return router


def _callback_url(request: Request, public_origin: str | None) -> str:
    return f"{public_origin or str(request.base_url).rstrip('/')}{CALLBACK_PATH}"


def _manager_router(connections: Connections, guard: Guard, public_origin: str | None) -> APIRouter:
    router = APIRouter(route_class=guarded(guard, "connections"), responses=_ERRORS)

    @router.post(
        "/mcp/connect",
        name="mcp_connect",
        status_code=201,
        responses={202: {"model": AuthorizationAnswer}},
    )
    async def connect(
        body: ConnectRequest, context: Context, request: Request, response: Response
    ) -> ConnectAnswer | AuthorizationAnswer:
        """Connects to an MCP server."""
        callback_url = _callback_url(request, public_origin)
        async with _timeouts_as_408():
            made = await connections.connect(
                context.principal.name, body, callback_url, context.deadline
            )
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
            message=_CONNECTED + (_CUT if made.offer.is_cut else ""),
        )

    @router.post("/mcp/disconnect", name="mcp_disconnect")
    async def disconnect(body: DisconnectRequest, context: Context) -> DisconnectAnswer:
        """Ends a connection."""
        await connections.disconnect(context.principal.name, body.client_id)
        return DisconnectAnswer(client_id=body.client_id)

    @router.get("/mcp/clients", name="mcp_clients")
    async def clients(context: Context) -> ClientsAnswer:
        """Lists the caller's connections, oldest first."""
        records = await connections.clients(context.principal.name)
        summaries = [
            ClientSummary(client_id=record.id, **ClientMetadata.of(record).model_dump())
            for record in records
        ]
        return ClientsAnswer(clients=summaries, count=len(summaries))

    @router.get("/mcp/client/{client_id}", name="mcp_client")
    async def client(client_id: str, context: Context) -> ClientAnswer:
        """Shows one connection."""
        record = await connections.client(context.principal.name, client_id)
        return ClientAnswer(client_id=record.id, metadata=ClientMetadata.of(record))

    return router


def _use_router(connections: Connections, guard: Guard) -> APIRouter:
    router = APIRouter(route_class=guarded(guard, "connections"), responses=_ERRORS)

    @router.get("/mcp/list_tools", name="mcp_list_tools", response_model_exclude_none=True)
    async def list_tools(client_id: ClientId, context: Context) -> ToolsAnswer:
        """Lists the tools of a connection's server."""
        async with _timeouts_as_408():
            tools = await connections.list_tools(
                context.principal.name, client_id, context.deadline
            )
        return ToolsAnswer(
            client_id=client_id,
            tools=tools,
            count=len(tools),
            truncated=tools.is_cut or None,
        )

    @router.post("/mcp/call_tool", name="mcp_call_tool")
    async def call_tool(body: CallToolRequest, context: Context) -> CallToolAnswer:
        """Calls a tool of a connection's server."""
        started = monotonic()
        async with _timeouts_as_408():
            result = await connections.call_tool(
                context.principal.name,
                body.client_id,
                body.tool_name,
                body.arguments,
                context.deadline,
                timeout=body.timeout,
            )
        return _call_answer(result, monotonic() - started)

    @router.get("/mcp/list_resources", name="mcp_list_resources", response_model_exclude_none=True)
    async def list_resources(client_id: ClientId, context: Context) -> ResourcesAnswer:
        """Lists the resources of a connection's server."""
        async with _timeouts_as_408():
            resources = await connections.list_resources(
                context.principal.name, client_id, context.deadline
            )
        return ResourcesAnswer(
            client_id=client_id,
            resources=resources,
            count=len(resources),
            truncated=resources.is_cut or None,
        )

    @router.post("/mcp/read_resource", name="mcp_read_resource")
    async def read_resource(body: ReadResourceRequest, context: Context) -> ResourceAnswer:
        """Reads a resource of a connection's server."""
        async with _timeouts_as_408():
            result = await connections.read_resource(
                context.principal.name, body.client_id, body.uri, context.deadline
            )
        contents = result.get("contents", [])
        return ResourceAnswer(
            client_id=body.client_id,
            uri=body.uri,
            content=contents[0] if contents else {},
            contents=contents,
        )

    @router.get("/mcp/list_prompts", name="mcp_list_prompts", response_model_exclude_none=True)
    async def list_prompts(client_id: ClientId, context: Context) -> PromptsAnswer:
        """Lists the prompts of a connection's server."""
        async with _timeouts_as_408():
            prompts = await connections.list_prompts(
                context.principal.name, client_id, context.deadline
            )
        return PromptsAnswer(
            client_id=client_id,
            prompts=prompts,
            count=len(prompts),
            truncated=prompts.is_cut or None,
        )

    @router.post("/mcp/get_prompt", name="mcp_get_prompt")
    async def get_prompt(body: GetPromptRequest, context: Context) -> PromptAnswer:
        """Gets a prompt of a connection's server."""
        async with _timeouts_as_408():
            content = await connections.get_prompt(
                context.principal.name,
                body.client_id,
                body.prompt_name,
                body.arguments,
                context.deadline,
            )
        return PromptAnswer(client_id=body.client_id, prompt_name=body.prompt_name, content=content)

    return router


def _open_router(connections: Connections, public_origin: str | None) -> APIRouter:
    """Returns what browsers and authorization servers call, without a key."""
    router = APIRouter()

    @router.get(CALLBACK_PATH, name="mcp_oauth_callback", response_class=HTMLResponse)
    async def oauth_callback(
        state: str = "", code: str | None = None, iss: str | None = None, error: str | None = None
    ) -> HTMLResponse:
        """Ends an authorization: the page that the user's browser comes back to."""
        try:
            record = await connections.finish_authorization(state, code, iss, error)
        except GatewayError as failure:
            # Always 400 or 404: how our own call went is nothing that a browser could act on.
            status = 404 if failure.status == 404 else 400
            return _page("Not connected", failure.detail, status)
        return _page("Connected", f"{record.name} is connected. You can close this page.", 200)

    if public_origin is not None and public_origin.startswith("https://"):

        @router.get(CLIENT_METADATA_PATH, name="mcp_oauth_client", include_in_schema=False)
        async def client_metadata() -> JSONResponse:
            return JSONResponse(client_metadata_document(public_origin))

    return router


def client_metadata_document(public_origin: str) -> JsonObject:
    """Returns how this app describes itself to authorization servers that take such documents."""
    return {
        "client_id": f"{public_origin}{CLIENT_METADATA_PATH}",
        "client_name": "OpenAI MCP Functions",
        "client_uri": public_origin,
        "redirect_uris": [f"{public_origin}{CALLBACK_PATH}"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
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


def _page(title: str, text: str, status: int) -> HTMLResponse:
    body = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        "<style>body{font:1.1rem system-ui;margin:15vh auto;max-width:36rem;padding:0 1rem}</style>"
        f"<h1>{escape(title)}</h1><p>{escape(text)}</p></html>"
    )
    return HTMLResponse(body, status, _PAGE_HEADERS)
