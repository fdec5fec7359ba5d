"""The resources of our MCP server: results of tools, stored media, and conversations."""

from base64 import b64encode
from collections.abc import Sequence

import mcp_types as types
from mcp.shared.exceptions import MCPError
from pydantic_core import to_json

from shared.context import CallContext
from shared.conversations import ConversationStore
from shared.errors import BUG, InsufficientScope, NotFound, cut_text
from shared.storage import MediaRecord, MediaStore, iso_utc
from shared.telemetry import current_record
from shared.tools import Tool, ToolRegistry

MEDIA_SCHEME = "media://"
CONVERSATION_SCHEME = "conversation://"
CONVERSATION_MESSAGES = 100
"""Maximum messages of a conversation that a client is sent: the newest."""

MAX_SHOWN_URI_CHARS = 1000
"""Maximum characters of an unknown URI in the error."""

MAX_MEDIA_BYTES = 4 * 1024 * 1024
"""Maximum bytes of a medium that is sent in base64; larger ones are sent as a link."""

LISTED_MEDIA = 50
"""Maximum media on one page of the list of resources."""

MAX_COMPLETIONS = 100
"""Maximum values of one completion, as the protocol has it."""

JSON = "application/json"

Contents = types.TextResourceContents | types.BlobResourceContents

TEMPLATES = [
    types.ResourceTemplate(
        name="media",
        title="Media",
        uri_template=f"{MEDIA_SCHEME}{{id}}",
        description="A stored image, clip or video by its id; a large one as JSON with a fresh URL.",
    ),
    types.ResourceTemplate(
        name="conversation",
        title="Conversation",
        uri_template=f"{CONVERSATION_SCHEME}{{id}}",
        description=f"The newest {CONVERSATION_MESSAGES} messages of a chat by its id, as JSON.",
        mime_type=JSON,
    ),
]


class Resources:
    """The resources that MCP clients can read.

    Args:
        registry: The tools, of which some are resources too.
        media: The ``media://`` resources.
        conversations: The ``conversation://`` resources.
    """

    def __init__(
        self, registry: ToolRegistry, media: MediaStore, conversations: ConversationStore
    ) -> None:
        self._registry = registry
        self._media = media
        self._conversations = conversations
        self._tools: dict[str, Tool] = {}
        self._of_tools: list[types.Resource] = []
        for tool in registry:
            if trait := tool.traits.resource:
                self._tools[trait.uri] = tool
                self._of_tools.append(
                    types.Resource(
                        name=trait.name,
                        title=trait.title,
                        uri=trait.uri,
                        description=trait.description,
                        mime_type=JSON,
                    )
                )

    async def list(
        self, cursor: str | None, context: CallContext
    ) -> tuple[Sequence[types.Resource], str | None]:
        """Returns a page of the caller's resources, and the cursor of the next one.

        The first page begins with the results of tools; the caller's media follow, newest first.

        Args:
            cursor: Where to begin, from the last page.
            context: Of the call.

        Raises:
            MCPError: The cursor is not one that a page gave.
            GatewayError: Storage failed.
        """
        resources = [] if cursor else [*self._of_tools]
        if not self._media.is_configured:
            return resources, None
        try:
            page = await self._media.list(context.principal.name, None, LISTED_MEDIA, cursor)
        except ValueError as error:
            raise MCPError(types.INVALID_PARAMS, "The cursor is not one of this list.") from error
        return [*resources, *map(resource_of, page.records)], page.cursor

    async def complete(
        self, reference: types.CompleteRequestParams, context: CallContext
    ) -> Sequence[str]:
        """Returns the newest ids of the caller's media or conversations that begin as the argument does.

        Raises:
            MCPError: There is no such template.
            GatewayError: Storage failed.
        """
        uri = getattr(reference.ref, "uri", None)
        begin, owner = reference.argument.value, context.principal.name
        if not self._media.is_configured or reference.argument.name != "id":
            return []
        if uri == TEMPLATES[0].uri_template:
            return await self._media.ids(owner, begin, MAX_COMPLETIONS)
        if uri == TEMPLATES[1].uri_template:
            if "chat" not in context.principal.scopes:
                return []
            return await self._conversations.ids(owner, begin, MAX_COMPLETIONS)
        known = " and ".join(each.uri_template for each in TEMPLATES)
        raise MCPError(types.INVALID_PARAMS, f"Only {known} have completions.")

    async def read(self, uri: str, context: CallContext) -> Contents:
        """Returns the contents of a resource.

        Raises:
            MCPError: There is no such resource for the caller, or its tool failed.
            GatewayError: Storage failed.
        """
        try:
            if uri.startswith(MEDIA_SCHEME):
                return await self._read_media(uri, context)
            if uri.startswith(CONVERSATION_SCHEME):
                return await self._read_conversation(uri, context)
        except NotFound as error:
            raise self._unknown(uri) from error
        if tool := self._tools.get(uri):
            return await self._read_tool(tool, uri, context)
        raise self._unknown(uri)

    async def _read_tool(self, tool: Tool, uri: str, context: CallContext) -> Contents:
        result = await self._registry.call(tool.name, {}, context)
        if result.is_error:
            current_record().fail(result.failure or BUG)
            raise MCPError(types.INTERNAL_ERROR, result.text)
        return types.TextResourceContents(uri=uri, mime_type=JSON, text=result.text)

    async def _read_media(self, uri: str, context: CallContext) -> Contents:
        media_id = uri.removeprefix(MEDIA_SCHEME)
        record = await self._media.find(context.principal.name, media_id)
        if record.size_bytes > MAX_MEDIA_BYTES:
            text = to_json(await self._media.present(record)).decode()
            return types.TextResourceContents(uri=uri, mime_type=JSON, text=text)
        data = await self._media.read(record)
        return types.BlobResourceContents(
            uri=uri, mime_type=record.content_type, blob=b64encode(data).decode()
        )

    async def _read_conversation(self, uri: str, context: CallContext) -> Contents:
        try:
            context.principal.require("chat")
        except InsufficientScope as error:
            raise MCPError(types.INVALID_REQUEST, error.detail) from error
        page = await self._conversations.page(
            context.principal.name, uri.removeprefix(CONVERSATION_SCHEME), CONVERSATION_MESSAGES
        )
        text = to_json(page).decode()
        return types.TextResourceContents(uri=uri, mime_type=JSON, text=text)

    def _unknown(self, uri: str) -> MCPError:
        uri = cut_text(uri, MAX_SHOWN_URI_CHARS)
        known = ", ".join([*self._tools, f"{MEDIA_SCHEME}ID", f"{CONVERSATION_SCHEME}ID"])
        return MCPError(
            types.INVALID_PARAMS,
            f"There is no resource '{uri}'. The resources are: {known}.",
            {"uri": uri},
        )


def resource_of(record: MediaRecord) -> types.Resource:
    """Returns a medium as lists of resources, and links in results, have it."""
    return types.Resource(
        name=record.file_name,
        title=record.origin.name,
        uri=f"{MEDIA_SCHEME}{record.id}",
        description=f"Made by {record.origin.tool}." if record.origin.tool else "Uploaded.",
        mime_type=record.content_type,
        size=record.size_bytes,
        annotations=types.Annotations(last_modified=iso_utc(record.created_at)),
    )
