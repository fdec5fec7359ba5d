"""Answers under `/v1` that are kept for repeats: their text, with marks in place of media."""

import re
from binascii import b2a_base64
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.storage import MediaRecord, MediaStore

MEDIA_HEADER = "x-media-id"
"""Names the media of an answer, several with commas between."""

_KEPT_HEADERS = ("content-type", "content-disposition", "x-provider", MEDIA_HEADER)
_MARK = re.compile(r"\{\{(base64|bytes|url):([0-9a-f]{44})\}\}")
"""Ids are not known before an answer comes, so that nobody else can write such a mark."""


def mark(kind: Literal["base64", "bytes", "url"], media_id: str) -> str:
    """Returns what stands for a medium in the text of an answer.

    Args:
        kind: Whether its base64, its bytes, or a link to it stands there.
        media_id: The medium.
    """
    return f"{{{{{kind}:{media_id}}}}}"


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as an idempotency key keeps it.

    Attributes:
        text: The body, with marks in place of media.
        headers: Its headers.
        media: Ids of the media.
    """

    text: str
    headers: Mapping[str, str]
    media: Sequence[str] = field(default=())

    @classmethod
    def make(cls, text: str, headers: Mapping[str, str], media: Sequence[str] = ()) -> "KeptAnswer":
        """Returns the answer with the headers that a repeat gets, too."""
        if media:
            headers = {**headers, MEDIA_HEADER: ",".join(media)}
        kept = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
        return cls(text, {**kept, "cache-control": "no-store"}, tuple(media))

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "KeptAnswer":
        """Returns the answer of a stored JSON value."""
        return cls(stored["text"], stored["headers"], tuple(stored["media"]))

    def as_json(self) -> dict[str, Any]:
        """Returns the answer as it is stored."""
        return {"text": self.text, "headers": dict(self.headers), "media": list(self.media)}

    async def open(self, principal: str, media: MediaStore) -> AsyncGenerator[bytes, None]:
        """Returns what yields the body, with its media and with fresh links to them.

        Args:
            principal: The caller.
            media: Has the media.

        Raises:
            NotFound: A medium was deleted since.
        """
        records = {each: await media.find(principal, each) for each in self.media}
        return self._pieces(records, media)

    async def _pieces(
        self, records: Mapping[str, MediaRecord], media: MediaStore
    ) -> AsyncGenerator[bytes, None]:
        end = 0
        for found in _MARK.finditer(self.text):
            record = records.get(found[2])
            if record is None:
                continue
            if before := self.text[end : found.start()]:
                yield before.encode()
            end = found.end()
            if found[1] == "url":
                yield (await media.present(record))["url"].encode()
                continue
            data = await media.read(record)
            yield data if found[1] == "bytes" else b2a_base64(data, newline=False)
        yield self.text[end:].encode()
