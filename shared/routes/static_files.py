"""Files that browsers keep: read, compressed and hashed on first use, answered with ETag and 304."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from pathlib import Path

from fastapi import Request, Response

from shared.routes.downloads import has_etag

PAGES = Path(__file__).parent.parent / "pages"
"""The folder of our own HTML, CSS and modules."""

HTML = "text/html; charset=utf-8"
JAVASCRIPT = "text/javascript; charset=utf-8"

MIN_ZIPPED_BYTES = 1024
"""Smaller files are not compressed: a header more would cost what it saves."""


class StaticFile:
    """A file that is the same for everybody until the app is deployed again.

    Args:
        read: Returns the bytes; called in a thread, once.
        media_type: The content type.
        headers: Further headers of the answer.
    """

    def __init__(
        self, read: Callable[[], bytes], media_type: str, headers: Mapping[str, str]
    ) -> None:
        self._read = read
        self._media_type = media_type
        self._headers = headers
        self._content: _Content | None = None
        self._reading = asyncio.Lock()

    async def respond(self, request: Request) -> Response:
        """Returns the answer to a GET: the file, compressed where the client accepts that, or 304."""
        content = await self._load()
        # Weak: the same tag stands for the compressed and the plain bytes (RFC 9110, section 8.8.1).
        headers = {**self._headers, "ETag": f"W/{content.etag}", "Vary": "Accept-Encoding"}
        if has_etag(request, content.etag):
            return Response(status_code=304, headers=headers)
        body = content.plain
        if content.zipped and _takes_gzip(request):
            headers["Content-Encoding"] = "gzip"
            body = content.zipped
        return Response(body, media_type=self._media_type, headers=headers)

    async def _load(self) -> "_Content":
        async with self._reading:
            if self._content is None:
                self._content = await asyncio.to_thread(_prepare, self._read)
            return self._content


def page_file(name: str, media_type: str, headers: Mapping[str, str]) -> StaticFile:
    """Returns a file of `PAGES`."""
    return StaticFile(partial(_read, name), media_type, headers)


def _read(name: str) -> bytes:
    return (PAGES / name).read_bytes()


@cache
def page_revision() -> str:
    """Returns a digest of all files of `PAGES`, for paths that browsers keep; reads them once."""
    digest = sha256()
    for path in sorted(PAGES.iterdir()):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Content:
    plain: bytes
    zipped: bytes | None
    etag: str


def _prepare(read: Callable[[], bytes]) -> _Content:
    import gzip

    plain = read()
    zipped = gzip.compress(plain, mtime=0) if len(plain) >= MIN_ZIPPED_BYTES else None
    return _Content(plain, zipped, f'"{sha256(plain).hexdigest()[:32]}"')


def _takes_gzip(request: Request) -> bool:
    accepted = request.headers.get("accept-encoding", "").lower().replace(" ", "").split(",")
    return any(each.partition(";")[0] == "gzip" and not each.endswith(";q=0") for each in accepted)
