"""Files of messages in memory: which formats and sizes chats take, and how a model is sent them."""

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.errors import InvalidRequest
from shared.storage import MediaFormat, formats

MAX_IMAGE_BYTES = 20 * 1024 * 1024
MAX_PDF_BYTES = 20 * 1024 * 1024
MAX_TEXT_BYTES = 1024 * 1024

MAX_TOTAL_BYTES = 32 * 1024 * 1024
"""Maximum bytes of all files of one call of a model, which are held in memory together."""

ENCODE_IN_THREAD_BYTES = 1024 * 1024
"""Size from which a file is encoded in a thread: it takes milliseconds."""

IMAGE_FORMATS = (formats.PNG, formats.JPEG, formats.WEBP, formats.GIF)

MAX_BYTES: Mapping[str, int] = {
    **{each.content_type: MAX_IMAGE_BYTES for each in IMAGE_FORMATS},
    formats.PDF.content_type: MAX_PDF_BYTES,
    formats.TEXT.content_type: MAX_TEXT_BYTES,
}
"""Maximum bytes of one file by its media type; files of other types are not taken."""

_IMAGE_TYPES = frozenset(each.content_type for each in IMAGE_FORMATS)


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file of a message.

    Attributes:
        name: A name with the extension of its format.
        content_type: Its media type.
        data: Its bytes.
    """

    name: str
    content_type: str
    data: bytes

    @property
    def is_image(self) -> bool:
        """Whether it is a picture."""
        return self.content_type in _IMAGE_TYPES

    async def as_chat_part(self) -> dict[str, Any]:
        """Returns the file as a part of a message of the Chat Completions API."""
        if self.is_image:
            return {"type": "image_url", "image_url": {"url": await self._data_url()}}
        if self.content_type == formats.TEXT.content_type:
            return {"type": "text", "text": self._as_text()}
        file = {"filename": self.name, "file_data": await self._data_url()}
        return {"type": "file", "file": file}

    async def as_response_part(self) -> dict[str, Any]:
        """Returns the file as a part of an input of the Responses API."""
        if self.is_image:
            return {"type": "input_image", "image_url": await self._data_url()}
        if self.content_type == formats.TEXT.content_type:
            return {"type": "input_text", "text": self._as_text()}
        file = {"filename": self.name, "file_data": await self._data_url()}
        return {"type": "input_file", **file}

    def _as_text(self) -> str:
        return f"File {self.name}:\n\n{self.data.decode(errors='replace')}"

    async def _data_url(self) -> str:
        if len(self.data) > ENCODE_IN_THREAD_BYTES:
            encoded = await asyncio.to_thread(b64encode, self.data)
        else:
            encoded = b64encode(self.data)
        return f"data:{self.content_type};base64,{encoded.decode()}"


class Budget:
    """The bytes that the files of one call may have together.

    Args:
        left: Number of bytes.
    """

    def __init__(self, left: int = MAX_TOTAL_BYTES) -> None:
        self._left = left

    def takes(self, size: int) -> bool:
        """Takes a file if there is room for it, and returns whether there is."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def take(self, size: int, field: str) -> None:
        """Takes a file.

        Raises:
            InvalidRequest: There is no room for it.
        """
        if not self.takes(size):
            complaint = f"the files of one message may have {MAX_TOTAL_BYTES} bytes together"
            raise InvalidRequest.for_field(field, complaint)


def check_file(content_type: str, size: int, field: str, *, is_image: bool) -> None:
    """Checks that a file may be part of a message.

    Args:
        content_type: Its media type.
        size: Its bytes.
        field: The field that names it, for errors.
        is_image: Whether it has to be a picture.

    Raises:
        InvalidRequest: It is of another type, or too large.
    """
    taken = _IMAGE_TYPES if is_image else MAX_BYTES.keys()
    if content_type not in taken:
        wanted = "a PNG, JPEG, WebP or GIF picture" if is_image else "a picture, a PDF or a text"
        raise InvalidRequest.for_field(field, f"this is {content_type}; give {wanted}")
    if size > MAX_BYTES[content_type]:
        complaint = f"it has {size} bytes; of {content_type} at most {MAX_BYTES[content_type]}"
        raise InvalidRequest.for_field(field, f"{complaint} are taken")


def file_name(name: str, media_format: MediaFormat) -> str:
    """Returns a name for a file with the extension of its format."""
    return f"{name or 'file'}.{media_format.extension}"
