"""`/media`: what the tools stored, and what callers bring for the tools to work on."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from shared.auth import Guard
from shared.errors import (
    InvalidRequest,
    TooLarge,
    Unauthorized,
)
from shared.routes.body import check_declared_length
from shared.routes.downloads import Downloads
from shared.routes.errors import (
    Cursor,
    cursor_errors,
    document_errors,
)
from shared.routes.guarded_route import (
    Context,
    authorize,
    guarded,
    request_deadline,
)
from shared.routes.media_files import serve_object
from shared.routes.routing import DeferredRoute
from shared.storage import (
    SHORT_LINK_PATH,
    Media,
    MediaInfo,
    MediaKind,
    MediaStore,
    Origin,
    Storage,
    formats,
    new_id,
)
from shared.tools import peek

MAX_UPLOAD_BYTES = 95 * 1024 * 1024
"""Maximum bytes of an upload, below the 100 MiB of the Functions host, which answers more with 500."""

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
    router = APIRouter(tags=["media"], route_class=DeferredRoute)
    downloads = Downloads()
    behind_guard = APIRouter(tags=["media"], route_class=guarded(guard, None))

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
        if storage.server_signer is not None and link_object and expires and signature:
            refusal = await storage.server_signer.refusal(link_object, expires, signature)
            if refusal is None:
                left = datetime.fromtimestamp(int(expires), UTC) - datetime.now(UTC)
                return await serve_object(downloads, storage, link_object, request, left)
        return await open_with_key(request, media_id, refusal)

    @router.get(
        f"{SHORT_LINK_PATH}/{{media_id}}",
        name="media_open",
        summary="Open a short link",
        response_class=Response,
        responses=_DOWNLOAD,
    )
    async def open_link(
        request: Request,
        media_id: str,
        s: Annotated[str, Query(max_length=100, description="Signature of the link.")] = "",
    ) -> Response:
        """Leads to the medium's bytes without a key, until the link expires."""
        refusal = None
        if storage.signer is not None and s:
            try:
                async with request_deadline(request).scope():
                    code, expires_at = await storage.signer.read_short(media_id, s)
                    name = media.objects.decode(media_id, code)
                    if storage.server_signer is None:
                        return _redirect(await storage.media.link(name, expires_at))
                left = expires_at - datetime.now(UTC)
                return await serve_object(downloads, storage, name, request, left)
            except Unauthorized as error:
                refusal = error
        return await open_with_key(request, media_id, refusal)

    async def open_with_key(
        request: Request, media_id: str, refusal: Unauthorized | None
    ) -> Response:
        try:
            principal = await authorize(request, guard, None)
        except Unauthorized as error:
            raise refusal or error from error
        async with request_deadline(request).scope():
            record = await media.find(principal.name, media_id)
            if storage.is_local or storage.server_signer is not None:
                lifetime = media.objects.link_lifetime
                return await serve_object(
                    downloads, storage, record.object, request, lifetime, {"Vary": KEY_HEADERS}
                )
            if media.objects.public_base_url is not None:
                return _redirect((await media.link(record.object))[0])
            expires_at = datetime.now(UTC) + media.objects.link_lifetime
            return _redirect(await storage.media.link(record.object, expires_at))

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

    router.routes.extend(behind_guard.routes)
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


def _redirect(url: str) -> Response:
    return RedirectResponse(url, 302, headers={"Cache-Control": "no-store"})


def _too_large() -> TooLarge:
    return TooLarge(f"A file may have at most {MAX_UPLOAD_BYTES} bytes. Send less.")


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk
