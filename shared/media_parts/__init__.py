"""Images, PDFs and texts in messages: as callers name them, as they are stored, as models get them."""

from shared.media_parts.files import MAX_TOTAL_BYTES
from shared.media_parts.inputs import FilePart, ImagePart, MessageContent, Part, TextPart
from shared.media_parts.service import MediaParts, PreparedPart
from shared.media_parts.stored import StoredPart, plain_text

__all__ = [
    "MAX_TOTAL_BYTES",
    "FilePart",
    "ImagePart",
    "MediaParts",
    "MessageContent",
    "Part",
    "PreparedPart",
    "StoredPart",
    "TextPart",
    "plain_text",
]
