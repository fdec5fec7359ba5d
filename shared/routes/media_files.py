"""Bytes of media, from the folder or from Blob Storage, as answers."""

from collections.abc import Mapping
from datetime import timedelta

from fastapi import Request, Response
from fastapi.responses import FileResponse
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from shared.errors import InvalidRequest, MalformedRange, NotFound, UnsatisfiableRange
from shared.routes.downloads import Downloads, etag_of, has_etag, stream_object
from shared.routes.errors import error_response
from shared.routes.guarded_route import request_deadline
from shared.storage import ObjectMissing, Storage, cache_control, formats, served_type

SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""Lets a drawing be looked at, and nothing in it run or load."""


class _MediaFile(FileResponse):
    """A file that answers a ``Range`` it cannot serve with this app's errors instead of plain text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal: InvalidRequest | None = None

        async def send_unless_refused(message: Message) -> None:
            nonlocal refusal
            status = message.get("status")
            if status == 416:
                _, _, size = Headers(raw=message["headers"])["content-range"].rpartition("/")
                refusal = UnsatisfiableRange(int(size))
            elif status == 400:
                refusal = MalformedRange()
            elif refusal is None:
                await send(message)

        await super().__call__(scope, receive, send_unless_refused)
        if refusal is not None:
            await error_response(Request(scope), refusal)(scope, receive, send)


async def serve_object(
    downloads: Downloads,
    storage: Storage,
    name: str,
    request: Request,
    lifetime: timedelta,
    more_headers: Mapping[str, str] | None = None,
) -> Response:
    """Returns the bytes of a media object, or of the range that the request asks for.

    Args:
        downloads: Bounds the downloads from Blob Storage.
        storage: Where the object is.
        name: The object.
        request: The request.
        lifetime: How long caches may keep it.
        more_headers: Further headers of the answer.

    Raises:
        NotFound: The object is gone.
    """
    media_format = formats.format_of_name(name)
    if media_format is None:
        raise gone()
    request.state.send.allow_download()
    headers = {
        "Cache-Control": cache_control(lifetime),
        "X-Content-Type-Options": "nosniff",
        **(more_headers or {}),
    }
    if media_format is formats.SVG:
        headers["Content-Security-Policy"] = SVG_POLICY
    headers["ETag"] = etag_of(name)
    is_known = has_etag(request, headers["ETag"])
    path = storage.local_file(name)
    if path is None:
        headers["Content-Type"] = served_type(media_format)
        headers["Content-Disposition"] = f'inline; filename="{name.rpartition("/")[2]}"'
        try:
            async with request_deadline(request).scope():
                if is_known:
                    await storage.media.describe(name)
                    return Response(status_code=304, headers=headers)
                return await stream_object(storage.media, name, request, headers, downloads)
        except ObjectMissing as error:
            raise gone() from error
    if not path.is_file():
        raise gone()
    if is_known:
        return Response(status_code=304, headers=headers)
    return _MediaFile(
        path,
        media_type=served_type(media_format),
        headers=headers,
        filename=path.name,
        content_disposition_type="inline",
    )


def gone() -> NotFound:
    """Returns the error for a medium whose bytes are no longer there."""
    return NotFound("The file of this media is gone.")
