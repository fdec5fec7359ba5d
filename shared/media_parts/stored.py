"""The parts of a message as conversations store them: texts, and files by reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

BYTES_PER_TOKEN = 4

FILE_TOKENS = 1500
"""Of a picture, or of so many bytes of a PDF: its tokens do not depend on its bytes."""

PDF_BYTES = 100_000
MAX_PDF_FACTOR = 8

_PDF = "application/pdf"
_TEXT = "text/plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """A part of a message.

    Attributes:
        type: Its type, as the caller wrote it.
        text: Its text; None for a file.
        media_id: The stored medium; None for a text, and where nothing is stored.
        name: A name of the file, with the extension of its format.
        content_type: The media type of the file.
        size_bytes: The size of the file.
    """

    type: Literal["text", "image", "file"]
    text: str | None = None
    media_id: str | None = None
    name: str = ""
    content_type: str | None = None
    size_bytes: int = 0

    @property
    def tokens(self) -> int:
        """About how many tokens the model reads."""
        if self.text is not None:
            return ceil(len(self.text.encode(errors="surrogatepass")) / BYTES_PER_TOKEN)
        if self.content_type == _TEXT:
            return ceil(self.size_bytes / BYTES_PER_TOKEN)
        if self.content_type == _PDF:
            return FILE_TOKENS * min(MAX_PDF_FACTOR, ceil(self.size_bytes / PDF_BYTES))
        return FILE_TOKENS

    @property
    def label(self) -> str:
        """The kind and the name of the file, for people and models."""
        return (
            f"{'picture' if (self.content_type or '').startswith('image/') else 'file'} {self.name}"
        )


def plain_text(parts: Sequence[StoredPart]) -> str:
    """Returns the texts of a message; where there is none, the names of its files."""
    texts = [part.text for part in parts if part.text is not None]
    return "\n".join(texts) or ", ".join(part.name for part in parts)
