"""`/media`: what the tools stored, and what callers bring for the tools to work on."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from shared.auth import Guard
from shared.errors import (
    InvalidRequest,
    MalformedRange,
    NotFound,
    TooLarge,
    Unauthorized,
    UnsatisfiableRange,
)
from shared.routes.body import check_declared_length
from shared.routes.downloads import Downloads, etag_of, has_etag, stream_object
from shared.routes.errors import (
    Cursor,
    cursor_errors,
    document_errors,
    error_response,
)
from shared.routes.guard import (
    Context,
    authorize,
    guarded,
    request_deadline,
)
from shared.storage import (
    Media,
    MediaInfo,
    MediaKind,
    MediaStore,
    ObjectMissing,
    Origin,
    Storage,
    cache_control,
    formats,
    new_id,
    served_type,
)
from shared.tools import peek

MAX_UPLOAD_BYTES = 95 * 1024 * 1024
"""Maximum bytes of an upload, below the 100 MiB of the Functions host, which answers more with 500."""

SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""Lets a drawing be looked at, and nothing in it run or load."""

KEY_HEADERS = "Authorization, X-Api-Key, x-functions-key"
"""Headers that carry keys: caches keep the answers of different keys apart."""

FileName = Annotated[
    str, Query(max_length=255, description="File name, of which a short name is made.")
]

_LinkField = Annotated[str | None, Query(include_in_schema=False)]


class MediaList(BaseModel):
    """Answer of `GET /media`.

    Attributes:
        cursor: Gives the next page; null at the end.
    """

    media: list[MediaInfo]
    cursor: str | None


def media_router(media: MediaStore, storage: Storage, guard: Guard) -> APIRouter:
    """Returns the routes of media."""
    router = APIRouter(tags=["media"])
    downloads = Downloads()
    behind_guard = APIRouter(route_class=guarded(guard, None))

    @behind_guard.get("/media", name="media_list", summary="List media")
    async def list_media(
        context: Context,
        kind: Annotated[MediaKind | None, Query(description="Only these.")] = None,
        limit: Annotated[int, Query(ge=1, le=100, description="Most to return.")] = 20,
        cursor: Cursor | None = None,
    ) -> MediaList:
        """Lists the caller's media, newest first; a page may hold fewer than asked for."""
        with cursor_errors():
            page = await media.list(context.principal.name, kind, limit, cursor)
        shown = [await media.info(record) for record in page.records]
        return MediaList(media=shown, cursor=page.cursor)

    @router.post(
        "/media",
        name="media_create",
        summary="Upload a medium",
        status_code=201,
        openapi_extra=_UPLOAD,
    )
    async def create(
        request: Request,
        name: Annotated[FileName | None, Query(description="File name of the upload.")] = None,
    ) -> Media:
        """Stores a file of the caller's, for chats and tools that take media ids.

        Images, clips, videos and PDFs are known by their first bytes; a text has to be sent as
        `text/plain`, or as another type of text.
        """
        principal = await authorize(request, guard, "tools")
        check_declared_length(request, MAX_UPLOAD_BYTES, _too_large)
        async with request_deadline(request).scope():
            head, chunks = await peek(_body(request), MAX_UPLOAD_BYTES, _too_large)
            found = formats.detect(head, request.headers.get("content-type", ""))
            if found is None:
                known = ", ".join(sorted({each.content_type for each in formats.FORMATS}))
                raise InvalidRequest(
                    "The body is not a file in a known format. Send its bytes alone, as curl does with "
                    f"--data-binary @FILE, in one of {known}. "
                    "Bare samples need Content-Type: audio/pcm, texts Content-Type: text/plain."
                )
            record = await media.save(
                principal.name, new_id(), chunks, found, Origin.of_file(name or "")
            )
            return await media.present(record)

    @router.get(
        "/media/{media_id}",
        name="media_get",
        summary="Download a medium",
        response_class=Response,
        responses=_DOWNLOAD,
    )
    async def get(
        request: Request,
        media_id: str,
        link_object: Annotated[_LinkField, Query(alias="object", include_in_schema=False)] = None,
        expires: _LinkField = None,
        signature: _LinkField = None,
    ) -> Response:
        """Leads to the medium's bytes, by a redirect to Blob Storage, or returns them itself."""
        refusal = None
        if storage.signer is not None and link_object and expires and signature:
            refusal = await storage.signer.refusal(link_object, expires, signature)
            if refusal is None:
                left = datetime.fromtimestamp(int(expires), UTC) - datetime.now(UTC)
                return await _serve(downloads, storage, link_object, request, left)
        try:
            principal = await authorize(request, guard, None)
        except Unauthorized as error:
            raise refusal or error from error
        async with request_deadline(request).scope():
            record = await media.find(principal.name, media_id)
            if storage.is_local or storage.signer is not None:
                lifetime = media.objects.link_lifetime
                return await _serve(
                    downloads, storage, record.object, request, lifetime, {"Vary": KEY_HEADERS}
                )
            url, _ = await media.link(record.object)
        return RedirectResponse(url, 302, headers={"Cache-Control": "no-store"})

    @behind_guard.get("/media/{media_id}/info", name="media_info", summary="Describe a medium")
    async def info(context: Context, media_id: str) -> MediaInfo:
        """Returns a medium as JSON, with a fresh link and with where it comes from."""
        return await media.info(await media.find(context.principal.name, media_id))

    @behind_guard.delete(
        "/media/{media_id}",
        name="media_delete",
        summary="Delete a medium",
        responses=document_errors(409),
        status_code=204,
    )
    async def delete(context: Context, media_id: str) -> None:
        """Deletes a medium and its bytes."""
        await media.delete(context.principal.name, media_id)

    router.include_router(behind_guard)
    return router


_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


_BYTES = {"*/*": {"schema": {"type": "string", "format": "binary"}}}

_DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file, where the app serves media itself.", "content": _BYTES},
    206: {
        "description": "The bytes that the header Range asks for.",
        "content": _BYTES,
        "headers": {"Content-Range": {"schema": {"type": "string"}}},
    },
    302: {
        "description": "A redirect to the file in Blob Storage.",
        "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
    },
    **document_errors(400, 416),
}


def _too_large() -> TooLarge:
    return TooLarge(f"A file may have at most {MAX_UPLOAD_BYTES} bytes. Send less.")


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk


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


async def _serve(
    downloads: Downloads,
    storage: Storage,
    name: str,
    request: Request,
    lifetime: timedelta,
    more_headers: Mapping[str, str] | None = None,
) -> Response:
    media_format = formats.format_of_name(name)
    if media_format is None:
        raise _gone()
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
            raise _gone() from error
    if not path.is_file():
        raise _gone()
    if is_known:
        return Response(status_code=304, headers=headers)
    return _MediaFile(
        path,
        media_type=served_type(media_format),
        headers=headers,
        filename=path.name,
        content_disposition_type="inline",
    )


def _gone() -> NotFound:
    return NotFound("The file of this media is gone.")
