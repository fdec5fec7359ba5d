"""Base64 of pictures in answers of OpenAI's API, found in the bytes: it is most of an answer.

Sources: https://platform.openai.com/docs/api-reference/images and
https://platform.openai.com/docs/api-reference/images-streaming
"""

import asyncio
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from shared.errors import ProviderUnavailable
from shared.routes.v1.forwarding import decode
from shared.routes.v1.kept_answer import mark

DECODE_IN_THREAD_BYTES = 1024 * 1024
"""Base64 that is longer would hold up the event loop for more than some milliseconds."""

_FIELD = b'"b64_json"'
_VALUE = re.compile(rb'\s*:\s*"')
_COMPLETED = re.compile(rb'"type"\s*:\s*"image_(?:generation|edit)\.completed"')


@dataclass(frozen=True, slots=True)
class Pictures:
    """An answer with pictures, or an event with one; nothing of the base64 is copied.

    Attributes:
        body: The bytes.
        spans: Where the base64 of each picture begins and ends.
        document: The JSON object of the answer, in which numbers stand for the base64.
    """

    body: bytes
    spans: Sequence[tuple[int, int]]
    document: Mapping[str, Any]

    @classmethod
    def read(cls, body: bytes) -> "Pictures":
        """Reads a JSON answer.

        Raises:
            ProviderUnavailable: It is no JSON.
        """
        spans = find_base64(body)
        skeleton = _with_texts(body, spans, [b"%d" % index for index in range(len(spans))])
        return cls(body, spans, decode(skeleton))

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows that hold a picture or its URL."""
        rows = self.document.get("data")
        given = rows if isinstance(rows, list) else ()
        found = [row for row in given if isinstance(row, Mapping)]
        return [row for row in found if row.get("b64_json") or row.get("url")]

    async def picture(self, row: Mapping[str, Any]) -> bytes | str:
        """Returns the bytes of a row's picture, or its URL.

        Raises:
            ProviderUnavailable: It is no base64.
        """
        number = row.get("b64_json")
        if not number:
            return str(row["url"])
        return await decode_base64(self.body, self.spans[int(number)])

    def text(self, media: Sequence[str | None]) -> str:
        """Returns the body with marks for the pictures that are stored.

        Args:
            media: Their ids in the order of the rows.
        """
        marks = [_slice(self.body, span) for span in self.spans]
        for row, media_id in zip(self.rows, media, strict=True):
            if row.get("b64_json") and media_id is not None:
                marks[int(row["b64_json"])] = mark("base64", media_id).encode()
        return _with_texts(self.body, self.spans, marks).decode()

    def text_with_links(self, media: Sequence[str]) -> str:
        """Returns the answer with links to its pictures in place of their base64.

        Args:
            media: Their ids in the order of the rows.
        """
        rows = [
            {name: value for name, value in row.items() if name != "b64_json"}
            | {"url": mark("url", media_id)}
            for row, media_id in zip(self.rows, media, strict=True)
        ]
        return to_json({**self.document, "data": rows}).decode()


def find_base64(body: bytes) -> Sequence[tuple[int, int]]:
    """Returns where each value of ``b64_json`` begins and ends."""
    spans: list[tuple[int, int]] = []
    at = body.find(_FIELD)
    while at >= 0:
        # A quote inside of a text has a backslash before it, so that this is never one.
        begin = _VALUE.match(body, at + len(_FIELD))
        end = body.find(b'"', begin.end()) if begin else -1
        if begin is not None and end >= 0:
            spans.append((begin.end(), end))
        at = body.find(_FIELD, max(end, at + len(_FIELD)))
    return spans


def is_completed(event: bytes) -> bool:
    """Returns whether an event holds a complete picture, and not a partial one."""
    return _COMPLETED.search(event) is not None


async def decode_base64(body: bytes, span: tuple[int, int]) -> bytes:
    """Returns the bytes of base64 that stands in a body.

    Raises:
        ProviderUnavailable: It is none.
    """
    text = memoryview(body)[slice(*span)]
    try:
        if len(text) > DECODE_IN_THREAD_BYTES:
            return await asyncio.to_thread(binascii.a2b_base64, text)
        return binascii.a2b_base64(text)
    except binascii.Error as error:
        raise ProviderUnavailable("The provider's image is not valid base64.") from error


def with_mark(event: bytes, media_id: str) -> str:
    """Returns an event with a mark in place of its picture."""
    spans = find_base64(event)
    return _with_texts(event, spans[:1], [mark("base64", media_id).encode()]).decode()


def _with_texts(body: bytes, spans: Sequence[tuple[int, int]], texts: Sequence[bytes]) -> bytes:
    pieces: list[bytes] = []
    last = 0
    for (begin, end), text in zip(spans, texts, strict=True):
        pieces += [body[last:begin], text]
        last = end
    return b"".join([*pieces, body[last:]])


def _slice(body: bytes, span: tuple[int, int]) -> bytes:
    return body[slice(*span)]
