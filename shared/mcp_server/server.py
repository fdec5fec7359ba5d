"""Our tools and resources as an MCP server: importing this module imports the ``mcp`` SDK.

`McpEndpoint` has it imported on the first request, off the event loop.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import mcp_types as types
from mcp.server.context import HandlerResult
from mcp.server.lowlevel import Server

from shared import __version__
from shared.connections import RemoteList
from shared.context import CallContext
from shared.conversations import ConversationStore
from shared.errors import GatewayError
from shared.mcp_server.connection_lists import (
    caching,
    completed,
    prompts_of,
    reference_of,
    relayed_prompt,
    resources_of,
    templates_of,
)
from shared.mcp_server.content import kinds_for
from shared.mcp_server.failures import protocol_errors, tool_error
from shared.mcp_server.list_answers import note_selection, selection_of
from shared.mcp_server.progress import repeated_progress
from shared.mcp_server.relay import CONNECTION_SCHEME, relayed, relayed_resource
from shared.mcp_server.resources import TEMPLATES, Resources
from shared.mcp_server.results import Results
from shared.mcp_server.spans import without_idle_spans
from shared.mcp_server.tasks import Tasks
from shared.mcp_server.tasks.extension import TasksExtension
from shared.mcp_server.tool_list import ToolList, icons_of
from shared.selection import ToolSelector
from shared.storage import MediaStore
from shared.telemetry import current_record
from shared.tools import CONNECTION_SEPARATOR, ToolRegistry

SERVER_NAME = "openai-mcp-functions"
ICON = "icon.png"
"""The file of the server's icon; PNG, because VS Code and others take no drawings (SVG)."""

RequestContext = Any
"""The SDK's ``ServerRequestContext``; its ``request`` is the HTTP request, None over stdio."""

MakeContext = Callable[[RequestContext], CallContext]
"""Makes the context of one request of the protocol."""


def build_server(
    registry: ToolRegistry,
    selector: ToolSelector,
    media: MediaStore,
    conversations: ConversationStore,
    tasks: Tasks,
    make_context: MakeContext,
    icons_url: str | None = None,
    *,
    ping_seconds: float,
) -> Server[Any]:
    """Builds the MCP server; it keeps nothing between requests.

    Args:
        registry: Our own tools.
        selector: Selects the tools that a caller has, those of connections among them.
        media: The ``media://`` resources.
        conversations: The ``conversation://`` resources.
        tasks: The tasks in place of results that take long.
        make_context: Called once for each request.
        icons_url: URL of the folder of icons, which clients load without a key; None to show none.
        ping_seconds: Seconds without progress of a call after which the last one is repeated.
    """
    resources = Resources(registry, media, conversations)
    results = Results(media)
    tool_list = ToolList(registry, icons_url)
    extension = TasksExtension(tasks, results, make_context)
    handlers = _Handlers(
        selector, tool_list, resources, results, extension, make_context, ping_seconds
    )
    tools = {tool.name: tool for tool in registry}

    def input_schema(name: str) -> Mapping[str, Any] | None:
        # When it is asked for: a client that introduces itself, or calls one tool, waits for no other.
        return tools[name].spec.input_schema if name in tools else None

    server = Server[Any](
        SERVER_NAME,
        version=__version__,
        title="OpenAI MCP Functions",
        icons=icons_of(icons_url, ICON),
        instructions=_instructions(registry),
        get_tool_input_schema=input_schema,
        on_list_tools=handlers.list_tools,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_resource_templates,
        on_read_resource=handlers.read_resource,
        on_list_prompts=handlers.list_prompts,
        on_get_prompt=handlers.get_prompt,
        on_completion=handlers.complete,
    )
    # Not as `on_call_tool`, which knows no tasks.
    server.add_request_handler("tools/call", types.CallToolRequestParams, handlers.call_tool)
    extension.install(server)
    server.middleware[:] = [*without_idle_spans(server.middleware), tool_list]
    return server


class _Handlers:
    """Answers requests of the protocol, each in the scope of its call."""

    def __init__(
        self,
        selector: ToolSelector,
        tool_list: ToolList,
        resources: Resources,
        results: Results,
        extension: TasksExtension,
        make_context: MakeContext,
        ping_seconds: float,
    ) -> None:
        self._ping_seconds = ping_seconds
        self._selector = selector
        self._tool_list = tool_list
        self._resources = resources
        self._results = results
        self._extension = extension
        self._make_context = make_context

    async def list_tools(
        self, request: RequestContext, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        selection = selection_of(request.request)
        if selection is None:
            with protocol_errors():
                context = self._make_context(request)
                async with context.scope():
                    selection = await self._selector.for_client(context)
            note_selection(request.request, selection)
        return self._tool_list.others(selection)

    async def call_tool(
        self, request: RequestContext, params: types.CallToolRequestParams
    ) -> HandlerResult:
        if (answer := await self._extension.begin(request, params)) is not None:
            return answer
        try:
            context = self._make_context(request)
            async with context.scope():
                tools = await self._selector.find(params.name, context)
                async with self._with_progress(context, request) as its_context:
                    result = await tools.call(params.name, params.arguments or {}, its_context)
                if not result.is_error and result.content is None:
                    return await self._results.show(result, request.protocol_version, context)
        except GatewayError as error:
            # An exception would reach the client as an opaque internal error.
            return tool_error(error.detail, error.failure)
        failure = result.error.failure if result.error else result.failure
        if result.content is not None:
            if failure is not None:
                current_record().fail(failure)
            return relayed(result, kinds_for(request.protocol_version, context.content))
        return tool_error(result.text, failure, params.name)

    def _with_progress(
        self, context: CallContext, request: RequestContext
    ) -> AbstractAsyncContextManager[CallContext]:
        if "progress_token" not in (request.meta or {}):
            return nullcontext(context)
        return repeated_progress(context, self._ping_seconds)

    async def list_resources(
        self, request: RequestContext, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        with protocol_errors():
            context = self._make_context(request)
            async with context.scope():
                cursor = params.cursor if params else None
                resources, next_cursor = await self._resources.list(cursor, context)
                # Behind the last of the caller's own, which do not wait for other servers.
                listed = RemoteList()
                if next_cursor is None:
                    listed = await self._selector.listed("resources", context)
        return types.ListResourcesResult(
            resources=[*resources, *resources_of(listed)],
            next_cursor=next_cursor,
            # The next call may make a medium.
            **caching(listed.problems) | {"ttl_ms": 0},
        )

    async def complete(
        self, request: RequestContext, params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        with protocol_errors():
            context = self._make_context(request)
            async with context.scope():
                if (theirs := reference_of(params)) is None:
                    values = await self._resources.complete(params, context)
                    return types.CompleteResult(completion=types.Completion(values=[*values]))
                prefix, reference = theirs
                argument = {"name": params.argument.name, "value": params.argument.value}
                given = (params.context and params.context.arguments) or {}
                made = await self._selector.complete(prefix, reference, argument, given, context)
        return completed(made)

    async def list_resource_templates(
        self, request: RequestContext, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        with protocol_errors():
            context = self._make_context(request)
            async with context.scope():
                listed = await self._selector.listed("templates", context)
        return types.ListResourceTemplatesResult(
            resource_templates=[*TEMPLATES, *templates_of(listed)], **caching(listed.problems)
        )

    async def list_prompts(
        self, request: RequestContext, params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        with protocol_errors():
            context = self._make_context(request)
            async with context.scope():
                listed = await self._selector.listed("prompts", context)
        return types.ListPromptsResult(prompts=[*prompts_of(listed)], **caching(listed.problems))

    async def get_prompt(
        self, request: RequestContext, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        prefix, _, name = params.name.partition(CONNECTION_SEPARATOR)
        with protocol_errors():
            context = self._make_context(request)
            async with context.scope():
                arguments = params.arguments or {}
                answer = await self._selector.get_prompt(prefix, name, arguments, context)
                kinds = kinds_for(request.protocol_version, context.content)
                return relayed_prompt(prefix, answer, kinds)

    async def read_resource(
        self, request: RequestContext, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        with protocol_errors():
            context = self._make_context(request)
            async with context.scope():
                uri = str(params.uri)
                if uri.startswith(CONNECTION_SCHEME):
                    prefix, _, theirs = uri.removeprefix(CONNECTION_SCHEME).partition("/")
                    answer = await self._selector.read_resource(prefix, theirs, context)
                    return relayed_resource(prefix, answer)
                return types.ReadResourceResult(contents=[await self._resources.read(uri, context)])


def _instructions(registry: ToolRegistry) -> str:
    return " ".join(
        [
            "Tools of OpenAI, Azure OpenAI or a compatible provider.",
            *(tool.traits.instructions for tool in registry if tool.traits.instructions),
            "Media come back as URLs.",
            "Tools of connected servers are named CONNECTION__TOOL; where there are many, search_tools "
            "finds them and call_tool calls them.",
        ]
    )
