"""Pictures as MCP clients show them: image blocks, small enough for every client."""

import asyncio
import io
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import mcp_types as types

from shared.context import CallContext
from shared.deadline import remaining_seconds, time_limit
from shared.errors import GatewayError
from shared.storage import Media, MediaStore

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BASE64_CHARS = 700_000
"""Maximum characters of all pictures of one result: clients refuse results over 1 MB."""

MAX_SOURCE_BYTES = 32 * 1024 * 1024
"""Maximum bytes of a picture that is shown; a larger one is only linked."""

MAX_PIXELS = 36_000_000
"""Maximum pixels of a picture that is decoded, which takes up to four bytes for each."""

SHOWN_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
"""Types that clients show; a drawing (SVG) may hold scripts and is only linked."""

REDUCED_TYPE = "image/jpeg"

_MAX_SECONDS = 15
_KEPT_SECONDS = 2
"""Seconds of the call's budget that are left for sending the result."""

_SIDES = (1536, 1024, 768, 512, 256, 128)
_QUALITIES = (85, 60)

_FOR_THE_USER = types.Annotations(audience=["user"])


class Pictures:
    """Makes image blocks of stored pictures.

    Args:
        media: Has those pictures whose bytes the call has not kept.
    """

    def __init__(self, media: MediaStore) -> None:
        self._media = media
        # Decoded pictures are large: one at a time in a process.
        self._reducing = asyncio.Semaphore(1)

    async def blocks(
        self, media: Sequence[Media], context: CallContext
    ) -> Sequence[types.ImageContent]:
        """Returns a block for each picture that can be shown, in their order.

        The result is paid for and stored: what fails here leaves out blocks, and raises nothing.

        Args:
            media: The media of a result.
            context: Of the call, inside of its scope.
        """
        shown = [each for each in media if each["content_type"] in SHOWN_TYPES]
        shown = [each for each in shown if each["size_bytes"] <= MAX_SOURCE_BYTES]
        blocks: dict[str, types.ImageContent] = {}
        left = MAX_BASE64_CHARS
        with suppress(GatewayError):
            async with time_limit(min(_MAX_SECONDS, remaining_seconds() - _KEPT_SECONDS)):
                # The small ones first: what they do not need is for the others.
                ordered = sorted(shown, key=lambda each: each["size_bytes"])
                for index, each in enumerate(ordered):
                    share = left // (len(ordered) - index)
                    if block := await self._block(each, share, context):
                        blocks[each["id"]] = block
                        left -= len(block.data)
        return [blocks[each["id"]] for each in shown if each["id"] in blocks]

    async def _block(
        self, media: Media, max_chars: int, context: CallContext
    ) -> types.ImageContent | None:
        data = context.kept_media.get(media["id"])
        if data is None:
            record = await self._media.find(context.principal.name, media["id"])
            data = await self._media.read(record)
        content_type = media["content_type"]
        max_bytes = max_chars // 4 * 3
        if len(data) > max_bytes:
            async with self._reducing:
                reduced = await asyncio.to_thread(reduce_picture, data, max_bytes)
            if reduced is None:
                return None
            data, content_type = reduced, REDUCED_TYPE
        return types.ImageContent(
            data=b64encode(data).decode(), mime_type=content_type, annotations=_FOR_THE_USER
        )


def reduce_picture(data: bytes, max_bytes: int) -> bytes | None:
    """Returns a picture as a JPEG of at most so many bytes; None where it cannot be decoded.

    Transparent parts become white, and of an animation the first picture is taken.

    Args:
        data: The picture: PNG, JPEG, GIF or WebP.
        max_bytes: Most bytes of the result.
    """
    # Imported late: most results need no reducing.
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF", "WEBP")) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                return None
            # Only JPEG: it is decoded at a fraction of its size.
            opened.draft("RGB", (_SIDES[0], _SIDES[0]))
            opened.thumbnail((_SIDES[0], _SIDES[0]))
            picture = ImageOps.exif_transpose(opened).convert("RGBA")
            flat = Image.new("RGB", picture.size, "white")
            flat.paste(picture, mask=picture.getchannel("A"))
            return next((each for each in _jpegs(flat) if len(each) <= max_bytes), None)
    except Exception:  # noqa: BLE001  # Whatever it stumbles over, the picture is stored and linked.
        return None


def _jpegs(picture: "Image") -> Iterator[bytes]:
    """Yields a picture as JPEG, smaller and smaller."""
    for side in _SIDES:
        picture.thumbnail((side, side))
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality)
            yield buffer.getvalue()
