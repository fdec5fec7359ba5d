"""Objects of Blob Storage as HTTP answers, whole or one range, streamed while they are read."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from shared.errors import TooManyDownloads, UnsatisfiableRange
from shared.storage import ObjectStore, RangeNotSatisfiable

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
"""One range (RFC 9110, section 14.1.2); several at once, and other units, may be ignored."""

MAX_DOWNLOADS = 64
"""That one process streams at a time: a slow reader holds a connection to storage and some memory."""


class Downloads:
    """Counts the downloads of one app."""

    def __init__(self) -> None:
        self._count = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place for one download.

        Raises:
            TooManyDownloads: All are taken.
        """
        if self._count >= MAX_DOWNLOADS:
            raise TooManyDownloads
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


class _ObjectResponse(StreamingResponse):
    """Gives back what it holds in any case, also where the caller disconnected before the first byte."""

    def __init__(self, held: AsyncExitStack, *args: Any) -> None:
        super().__init__(*args)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)


def etag_of(name: str) -> str:
    """Returns the ETag of an object: the last part of its name, whose bytes never change."""
    return f'"{name.rpartition("/")[2]}"'


def has_etag(request: Request, etag: str) -> bool:
    """Returns whether the caller has the object already (RFC 9110, section 13.1.2)."""
    known = request.headers.get("if-none-match", "").split(",")
    return any(each.strip().removeprefix("W/") in (etag, "*") for each in known)


async def stream_object(
    store: ObjectStore,
    name: str,
    request: Request,
    headers: Mapping[str, str],
    downloads: Downloads,
) -> Response:
    """Returns the answer to a GET of an object that is never overwritten.

    Args:
        store: Where the object is.
        name: The object; its last part is the ETag, because the bytes of a name never change.
        request: May ask for a range.
        headers: Further headers of the answer.
        downloads: Where the download takes a place until it ends.

    Raises:
        ObjectMissing: There is none.
        UnsatisfiableRange: The range begins beyond its end.
        StorageUnavailable: The storage does not answer.
        TooManyDownloads: This process streams as many as it may.
    """
    etag = etag_of(name)
    wanted = _range(request, etag)
    if wanted is not None and wanted[0] is None:
        size = (await store.describe(name)).size
        # The last bytes, as many as there are.
        wanted = (max(0, size - (wanted[1] or 0)), None)
    start, end = wanted or (0, None)
    async with AsyncExitStack() as stack:
        stack.enter_context(downloads.place())
        try:
            stream = await stack.enter_async_context(store.open(name, start or 0, end))
        except RangeNotSatisfiable as error:
            raise UnsatisfiableRange(error.size) from error
        held = stack.pop_all()
    size = stream.info.size
    if size == 0:
        wanted = None
    first, last = start or 0, min(size - 1 if end is None else end, size - 1)
    answer = {
        **headers,
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Content-Length": str(last - first + 1),
    }
    if wanted is not None:
        answer["Content-Range"] = f"bytes {first}-{last}/{size}"

    async def body() -> AsyncIterator[bytes]:
        if getattr(request.state, "is_head", False):
            return
        async for chunk in stream.chunks:
            yield chunk

    return _ObjectResponse(held, body(), 200 if wanted is None else 206, answer)


def _range(request: Request, etag: str) -> tuple[int | None, int | None] | None:
    """Returns first and last byte; without a first one the number of bytes at the end; None for all."""
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None or request.headers.get("if-range", etag) != etag:
        return None
    first, last = (int(digits) if digits else None for digits in found.groups())
    if first is None:
        return (None, last) if last else None
    return None if last is not None and last < first else (first, last)
