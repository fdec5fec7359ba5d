"""Results of tools as MCP clients get them: text, structured content, links to media, and pictures."""

from collections.abc import Sequence
from contextlib import suppress

import mcp_types as types

from shared.context import CallContext
from shared.deadline import remaining_seconds, time_limit
from shared.errors import GatewayError, NotFound
from shared.mcp_server.content import kinds_for
from shared.mcp_server.pictures import Pictures
from shared.mcp_server.resources import MEDIA_SCHEME, resource_of
from shared.parallel import gather_limited
from shared.storage import Media, MediaRecord, MediaStore, formats
from shared.tools import ToolResult

_MAX_LOOKUP_SECONDS = 5
_KEPT_SECONDS = 2
"""Most seconds for looking up media, and seconds of the call's budget that are left for the rest."""

_LOOKUPS_AT_ONCE = 4


class Results:
    """Makes results of the protocol.

    Args:
        media: The media that are linked, and the pictures that are shown.
    """

    def __init__(self, media: MediaStore) -> None:
        self._media = media
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
        kinds = kinds_for(revision, context.content)
        content: list[types.ContentBlock] = [types.TextContent(type="text", text=result.text)]
        if result.media and "resource_link" in kinds:
            content += await self._links(result.media, context)
        if result.media and "image" in kinds:
            content += await self._pictures.blocks(result.media, context)
        return types.CallToolResult(content=content, structured_content=result.structured)

    async def _links(
        self, media: Sequence[Media], context: CallContext
    ) -> Sequence[types.ResourceLink]:
        """Returns a link to each medium, as the list of resources has it.

        The result is paid for and stored: what cannot be looked up is linked without its title.
        """
        records: dict[str, MediaRecord] = {}

        async def look_up(media_id: str) -> None:
            # A repeat may return what its owner has deleted since.
            with suppress(NotFound):
                records[media_id] = await self._media.find(context.principal.name, media_id)

        with suppress(GatewayError):
            async with time_limit(min(_MAX_LOOKUP_SECONDS, remaining_seconds() - _KEPT_SECONDS)):
                await gather_limited(_LOOKUPS_AT_ONCE, (look_up(each["id"]) for each in media))
        return [_link(each, records.get(each["id"])) for each in media]


def _link(media: Media, record: MediaRecord | None) -> types.ResourceLink:
    if record is not None:
        return types.ResourceLink(**dict(resource_of(record)))
    return types.ResourceLink(
        name=f"{media['id']}.{formats.extension_of(media['content_type'])}",
        uri=f"{MEDIA_SCHEME}{media['id']}",
        mime_type=media["content_type"],
        size=media["size_bytes"],
        annotations=types.Annotations(last_modified=media["created_at"]),
    )
