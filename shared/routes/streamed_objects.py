"""Objects of Blob Storage as HTTP answers, whole or one range, streamed while they are read."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from shared.errors import UnsatisfiableRange
from shared.storage import ObjectStore, RangeNotSatisfiable

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
"""One range (RFC 9110, section 14.1.2); several at once, and other units, may be ignored."""


async def stream_object(
    store: ObjectStore, name: str, request: Request, headers: Mapping[str, str]
) -> Response:
    """Returns the answer to a GET of an object that is never overwritten.

    Args:
        store: Where the object is.
        name: The object; its last part is the ETag, because the bytes of a name never change.
        request: May ask for a range.
        headers: Further headers of the answer.

    Raises:
        ObjectMissing: There is none.
        UnsatisfiableRange: The range begins beyond its end.
        StorageUnavailable: The storage does not answer.
    """
    etag = f'"{name.rpartition("/")[2]}"'
    wanted = _range(request, etag)
    if wanted is not None and wanted[0] is None:
        size = (await store.describe(name)).size
        # The last bytes, as many as there are.
        wanted = (max(0, size - (wanted[1] or 0)), None)
    start, end = wanted or (0, None)
    stack = AsyncExitStack()
    try:
        stream = await stack.enter_async_context(store.open(name, start or 0, end))
    except RangeNotSatisfiable as error:
        raise UnsatisfiableRange(error.size) from error
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
        async with stack:
            if getattr(request.state, "is_head", False):
                return
            async for chunk in stream.chunks:
                yield chunk

    return StreamingResponse(body(), 200 if wanted is None else 206, answer)


def _range(request: Request, etag: str) -> tuple[int | None, int | None] | None:
    """Returns first and last byte; without a first one the number of bytes at the end; None for all."""
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None or request.headers.get("if-range", etag) != etag:
        return None
    first, last = (int(digits) if digits else None for digits in found.groups())
    if first is None:
        return (None, last) if last else None
    return None if last is not None and last < first else (first, last)
