"""Results of tools as MCP clients get them: text, structured content, links to media, and pictures."""

import mcp_types as types

from shared.context import CallContext
from shared.mcp_server.pictures import Pictures
from shared.mcp_server.resources import MEDIA_SCHEME
from shared.storage import Media, MediaStore, formats
from shared.tools import ToolResult

RESOURCE_LINK_REVISION = "2025-06-18"
"""The first revision of the protocol whose results may hold links to resources."""


class Results:
    """Makes results of the protocol.

    Args:
        media: Has the pictures that are shown.
    """

    def __init__(self, media: MediaStore) -> None:
        self._pictures = Pictures(media)

    async def show(
        self, result: ToolResult, revision: str, context: CallContext
    ) -> types.CallToolResult:
        """Returns the result of a tool that succeeded.

        Args:
            result: The result.
            revision: The revision of the protocol that the client speaks.
            context: Of the call, inside of its scope.
        """
        content: list[types.ContentBlock] = [types.TextContent(type="text", text=result.text)]
        if result.media:
            if revision >= RESOURCE_LINK_REVISION:
                content += map(_link, result.media)
            content += await self._pictures.blocks(result.media, context)
        return types.CallToolResult(content=content, structured_content=result.structured)


def _link(media: Media) -> types.ResourceLink:
    return types.ResourceLink(
        name=f"{media['id']}.{formats.extension_of(media['content_type'])}",
        uri=f"{MEDIA_SCHEME}{media['id']}",
        mime_type=media["content_type"],
        size=media["size_bytes"],
    )
