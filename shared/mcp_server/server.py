"""Our tools and resources as an MCP server: importing this module imports the ``mcp`` SDK.

`McpEndpoint` has it imported on the first request, off the event loop.
"""

from base64 import b64encode
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar, cast

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from pydantic_core import to_json

from shared import __version__
from shared.context import CallContext
from shared.errors import (
    BUG,
    Failure,
    GatewayError,
    InsufficientScope,
    NotFound,
    cut_text,
    failure_of,
)
from shared.storage import ConversationStore, MediaStore, present_conversation
from shared.telemetry import current_record
from shared.tools import ToolRegistry, ToolSpec

SERVER_NAME = "openai-mcp-functions"
MODELS_URI = "models://supported"
MEDIA_SCHEME = "media://"
CONVERSATION_SCHEME = "conversation://"
CONVERSATION_MESSAGES = 100
"""Maximum messages of a conversation that a client is sent: the newest."""

MAX_SHOWN_URI_CHARS = 1000
"""Maximum characters of an unknown URI in the error."""

MAX_MEDIA_BYTES = 4 * 1024 * 1024
"""Maximum bytes of a medium that is sent in base64; larger ones are sent as a link."""

INSTRUCTIONS = (
    "Tools of OpenAI, Azure OpenAI or a compatible provider. list_supported_models says which of "
    "their capabilities are configured here. Media come back as URLs."
)

RequestContext = Any
"""The SDK's ``ServerRequestContext``; its ``request`` is the HTTP request, None over stdio."""

MakeContext = Callable[[RequestContext], CallContext]
"""Says on whose behalf and until when a request of the protocol runs."""


def build_server(
    registry: ToolRegistry,
    media: MediaStore,
    conversations: ConversationStore,
    make_context: MakeContext,
) -> Server[Any]:
    """Builds the MCP server; it keeps nothing between requests.

    Args:
        registry: The tools.
        media: What ``media://`` resources are.
        conversations: What ``conversation://`` resources are.
        make_context: Called once for each request.
    """

    async def list_tools(
        request: RequestContext, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        context = make_context(request)
        async with context.scope():
            specs = await registry.list(context)
        return types.ListToolsResult(tools=[_as_tool(spec) for spec in specs])

    async def call_tool(
        request: RequestContext, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        try:
            context = make_context(request)
            async with context.scope():
                result = await registry.call(params.name, params.arguments or {}, context)
        except GatewayError as error:
            # An exception would reach the client as an opaque internal error.
            return _tool_error(error.detail, error.failure)
        if result.is_error:
            return _tool_error(result.text, result.failure, params.name)
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=result.text)],
            structured_content=result.structured,
        )

    async def list_resources(
        request: RequestContext, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=[_MODELS_RESOURCE])

    async def list_resource_templates(
        request: RequestContext, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(
            resource_templates=[_MEDIA_TEMPLATE, _CONVERSATION_TEMPLATE]
        )

    async def read_resource(
        request: RequestContext, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        context = make_context(request)
        async with context.scope():
            return await read(str(params.uri), context)

    async def read(uri: str, context: CallContext) -> types.ReadResourceResult:
        if uri.startswith(MEDIA_SCHEME):
            contents = await _read_media(media, uri, context)
            return types.ReadResourceResult(contents=[contents])
        if uri.startswith(CONVERSATION_SCHEME):
            text = await _read_conversation(conversations, uri, context)
            return types.ReadResourceResult(contents=[text])
        if uri != MODELS_URI:
            raise _unknown_resource(uri)
        result = await registry.call("list_supported_models", {}, context)
        if result.is_error:
            current_record().fail(result.failure or BUG)
            raise MCPError(types.INTERNAL_ERROR, result.text)
        models = types.TextResourceContents(
            uri=MODELS_URI, mime_type="application/json", text=result.text
        )
        return types.ReadResourceResult(contents=[models])

    return Server(
        SERVER_NAME,
        version=__version__,
        title="OpenAI MCP Functions",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=_input_schemas(registry),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_resource_templates,
        on_read_resource=_noting_failures(read_resource),
    )


NOT_FOUND = failure_of(NotFound.status, NotFound.code)
HandlerT = TypeVar("HandlerT", bound=Callable[..., Awaitable[Any]])


def _noting_failures(handler: HandlerT) -> HandlerT:
    """Returns a handler whose errors, which clients get in an answer of status 200, are in the log."""

    @wraps(handler)
    async def handle(*arguments: Any) -> Any:
        try:
            return await handler(*arguments)
        except GatewayError as error:
            current_record().fail(error.failure)
            # Another exception would reach the client as an opaque internal error.
            raise MCPError(types.INTERNAL_ERROR, error.detail) from error
        except MCPError as error:
            cause = error.__cause__
            current_record().fail(cause.failure if isinstance(cause, GatewayError) else NOT_FOUND)
            raise
        except Exception:
            current_record().fail(BUG)
            raise

    return cast(HandlerT, handle)


_MODELS_RESOURCE = types.Resource(
    name="supported_models",
    title="Supported models",
    uri=MODELS_URI,
    description="The configured model of each capability, as list_supported_models tells it.",
    mime_type="application/json",
)


_MEDIA_TEMPLATE = types.ResourceTemplate(
    name="media",
    title="Media",
    uri_template=f"{MEDIA_SCHEME}{{id}}",
    description="A stored image, clip or video by its id; a large one as JSON with a fresh URL.",
)


_CONVERSATION_TEMPLATE = types.ResourceTemplate(
    name="conversation",
    title="Conversation",
    uri_template=f"{CONVERSATION_SCHEME}{{id}}",
    description=f"The newest {CONVERSATION_MESSAGES} messages of a chat by its id, as JSON.",
    mime_type="application/json",
)


async def _read_conversation(
    conversations: ConversationStore, uri: str, context: CallContext
) -> types.TextResourceContents:
    principal = context.principal
    try:
        principal.require("chat")
    except InsufficientScope as error:
        raise MCPError(types.INVALID_REQUEST, error.detail) from error
    try:
        page = await conversations.page(
            principal.name, uri.removeprefix(CONVERSATION_SCHEME), CONVERSATION_MESSAGES
        )
    except NotFound as error:
        raise _unknown_resource(uri) from error
    text = to_json(present_conversation(page)).decode()
    return types.TextResourceContents(uri=uri, mime_type="application/json", text=text)


async def _read_media(
    media: MediaStore, uri: str, context: CallContext
) -> types.TextResourceContents | types.BlobResourceContents:
    try:
        record = await media.find(context.principal.name, uri.removeprefix(MEDIA_SCHEME))
    except NotFound as error:
        raise _unknown_resource(uri) from error
    if record.size_bytes <= MAX_MEDIA_BYTES:
        data = await media.read(record)
        return types.BlobResourceContents(
            uri=uri, mime_type=record.content_type, blob=b64encode(data).decode()
        )
    shown = await media.present(record)
    return types.TextResourceContents(
        uri=uri, mime_type="application/json", text=to_json(shown).decode()
    )


def _unknown_resource(uri: str) -> MCPError:
    uri = cut_text(uri, MAX_SHOWN_URI_CHARS)
    return MCPError(
        types.INVALID_PARAMS,
        f"There is no resource '{uri}'. The resources are: {MODELS_URI}, {MEDIA_SCHEME}ID, "
        f"{CONVERSATION_SCHEME}ID.",
        {"uri": uri},
    )


def _input_schemas(registry: ToolRegistry) -> Callable[[str], dict[str, Any] | None]:
    schemas = {tool.name: tool.spec.input_schema for tool in registry}
    return schemas.get


def _as_tool(spec: ToolSpec) -> types.Tool:
    return types.Tool(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        input_schema=spec.input_schema,
        output_schema=spec.output_schema,
        annotations=types.ToolAnnotations.model_validate(spec.annotations),
    )


def _tool_error(
    text: str, failure: Failure | None, tool: str | None = None
) -> types.CallToolResult:
    if failure is not None:
        # The status of the answer is 200.
        current_record().fail(failure, tool)
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)
