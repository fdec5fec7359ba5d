"""Media: stored once under names of their own, listed by small records, handed out as links.

The object is written first and its record last. What has no record does not exist for anybody, so a
process that dies in between leaves nothing that could be listed or linked.
"""

import asyncio
import io
from collections.abc import AsyncIterable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from shared.errors import Conflict, NotFound, StorageUnavailable
from shared.parallel import gather_limited
from shared.settings import Settings
from shared.storage.formats import SVG, MediaFormat, MediaKind
from shared.storage.ids import is_id, iso_utc, made_at, owner_key
from shared.storage.media_links import Media, find_media, with_links
from shared.storage.objects import (
    ContentHeaders,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    ObjectStore,
)
from shared.storage.persistence import persist
from shared.storage.service import Storage
from shared.storage.work_items import WorkItem, WorkItems

DELETION_TIME = timedelta(minutes=10)
"""More than any deletion takes; afterwards housekeeping finishes it."""

MAX_PAGE = 100
_PARALLEL_READS = 8
_MEASURED_BYTES = 256 * 1024
"""Of a picture, to find its size in; the size of a JPEG comes after whatever its camera wrote."""
_MAX_LISTINGS = 20
"""For one page, where most of what is listed is of another kind."""

Content = bytes | AsyncIterable[bytes]


class MediaRecord(BaseModel):
    """What the index knows of one medium.

    Attributes:
        name: The object in the container of media.
        thumbnail: Object of a still picture of it.
        is_deleted: Whether its deletion has begun.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    kind: MediaKind
    name: str
    content_type: str
    size_bytes: int
    created_at: datetime
    width: int | None = None
    height: int | None = None
    thumbnail: str | None = None
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class MediaPage:
    """A part of somebody's media, newest first.

    Attributes:
        cursor: Where the next part begins; None at the end.
    """

    records: tuple[MediaRecord, ...]
    cursor: str | None


class MediaStore:
    """The media of all principals.

    Args:
        storage: Where they are.
        settings: Names of folders, public URL and lifetime of links.
    """

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._work_items = WorkItems(storage.state)
        self._prefix = settings.azure_blob_path_prefix
        self._roots = {
            "image": settings.azure_blob_image_root,
            "audio": settings.azure_blob_audio_root,
            "video": settings.azure_blob_video_root,
        }
        # A folder is served by the app itself, whatever is configured for the container.
        self._public_base_url = None if storage.is_local else settings.azure_blob_public_base_url
        self.link_lifetime = timedelta(seconds=settings.media_url_ttl_seconds)
        """How long a signed link holds."""

    async def save(
        self,
        principal: str,
        media_id: str,
        content: Content | None,
        media_format: MediaFormat,
        thumbnail: tuple[bytes, MediaFormat] | None = None,
    ) -> MediaRecord:
        """Stores a medium and then its record; what an earlier run has stored stays as it is.

        Args:
            principal: Whose it is.
            media_id: Its id; a second run of the same operation gives the same one.
            content: The bytes, whole or as they come; None where an earlier run has stored them.
            media_format: Their format.
            thumbnail: A still picture of it and its format.

        Raises:
            StorageUnavailable: It is not stored.
        """
        media = await self._storage.media()
        thumbnail_name = None
        if thumbnail is not None:
            still, still_format = thumbnail
            thumbnail_name = self._name(media_id, still_format, media_format.kind, "-thumbnail")
            with suppress(ObjectExists):
                await self._store(media, thumbnail_name, still, still_format)
        name = self._name(media_id, media_format)
        if content is not None:
            with suppress(ObjectExists):
                await self._store(media, name, content, media_format)
        record = await self._describe(media, media_id, name, media_format, thumbnail_name)
        state = await self._storage.state()
        data = record.model_dump_json().encode()
        try:
            await persist(lambda: state.create(_record_name(principal, media_id), data))
        except ObjectExists:
            return await self.find(principal, media_id)
        return record

    async def check_reachable(self) -> None:
        """Makes sure, before anything is paid for, that what comes of it can be stored.

        Raises:
            NotConfigured: There is no storage.
            StorageUnavailable: It does not answer, or refuses us.
        """
        media = await self._storage.media()
        with suppress(ObjectMissing):
            await media.describe("is-reachable")

    async def stored_format(
        self, media_id: str, formats: Iterable[MediaFormat]
    ) -> MediaFormat | None:
        """Returns in which of some formats an object was stored under an id, None for in none."""
        media = await self._storage.media()
        for media_format in formats:
            with suppress(ObjectMissing):
                await media.describe(self._name(media_id, media_format))
                return media_format
        return None

    async def find(self, principal: str, media_id: str) -> MediaRecord:
        """Returns the record of a medium.

        Raises:
            NotFound: The principal has none of that id.
        """
        record, _ = await self._read(principal, media_id)
        if record.is_deleted:
            raise _unknown(media_id)
        return record

    async def read(self, record: MediaRecord) -> bytes:
        """Returns all bytes of a medium.

        Raises:
            NotFound: They are gone.
        """
        media = await self._storage.media()
        try:
            return (await media.read(record.name))[0]
        except ObjectMissing as error:
            raise _unknown(record.id) from error

    async def list(
        self, principal: str, kind: MediaKind | None, limit: int, cursor: str | None
    ) -> MediaPage:
        """Returns the next of a principal's media, newest first.

        Args:
            principal: Whose.
            kind: Only these; a page may then hold fewer than ``limit`` before the end.
            limit: Most records to return, up to 100.
            cursor: Where to begin, from the last page.
        """
        state = await self._storage.state()
        found: list[MediaRecord] = []
        for _ in range(_MAX_LISTINGS):
            page = await state.list(f"media/{owner_key(principal)}/", limit - len(found), cursor)
            records = await gather_limited(
                _PARALLEL_READS, (_load(state, each.name) for each in page.objects)
            )
            found += [
                each
                for each in records
                if each and not each.is_deleted and kind in (None, each.kind)
            ]
            cursor = page.cursor
            if cursor is None or len(found) == limit:
                break
        return MediaPage(tuple(found), cursor)

    async def delete(self, principal: str, media_id: str) -> None:
        """Deletes a medium; a deletion that was interrupted is finished by the next one.

        Raises:
            NotFound: The principal has none of that id.
        """
        record, etag = await self._read(principal, media_id)
        state = await self._storage.state()
        media = await self._storage.media()
        name = _record_name(principal, media_id)
        item, due = _work_item(principal, media_id), datetime.now(UTC) + DELETION_TIME
        if not record.is_deleted:
            await self._work_items.add(item, due)
            # Hidden first: nobody is to be sent to an object that is gone already.
            hidden = record.model_copy(update={"is_deleted": True})
            try:
                await state.replace(name, hidden.model_dump_json().encode(), etag)
            except ObjectChanged as error:
                raise Conflict(f"The media '{media_id}' is being deleted.", 1) from error
        await asyncio.gather(
            *(media.delete(each) for each in (record.name, record.thumbnail) if each)
        )
        await state.delete(name)
        # Where that fails, housekeeping sees that the record is gone.
        with suppress(StorageUnavailable):
            await self._work_items.remove(item, due)

    async def finish_deletion(self, principal: str, media_id: str) -> bool:
        """Finishes a deletion that was interrupted, and says whether there was one."""
        try:
            record, _ = await self._read(principal, media_id)
            if record.is_deleted:
                await self.delete(principal, media_id)
        except NotFound:
            return False
        return record.is_deleted

    async def present(self, record: MediaRecord) -> Media:
        """Returns a medium as callers see it, with fresh links."""
        url, expires_at = await self.link(record.name)
        media = Media(
            id=record.id,
            url=url,
            content_type=record.content_type,
            size_bytes=record.size_bytes,
            created_at=iso_utc(record.created_at),
            expires_at=expires_at,
        )
        if record.width is not None and record.height is not None:
            media |= {"width": record.width, "height": record.height}
        if record.thumbnail is not None:
            media["thumbnail_url"] = (await self.link(record.thumbnail))[0]
        return media

    async def link(self, name: str) -> tuple[str, str | None]:
        """Returns a URL of an object that opens in a browser, and when it stops to."""
        if self._public_base_url is not None:
            return f"{self._public_base_url}/{name}", None
        expires_at = datetime.now(UTC).replace(microsecond=0) + self.link_lifetime
        url = await (await self._storage.media()).link(name, expires_at)
        return url, None if url.startswith("file:") else iso_utc(expires_at)

    async def refresh(self, principal: str, document: Any) -> Any:
        """Returns a stored JSON value with fresh links in place of those that have expired since.

        Links in texts are those of the media beside them: a model quotes what a tool returned.
        """
        ids = {media["id"] for media in find_media(document)}
        found = await gather_limited(_PARALLEL_READS, (self._renew(principal, id_) for id_ in ids))
        return with_links(document, {media["id"]: media for media in found if media is not None})

    async def _renew(self, principal: str, media_id: str) -> Media | None:
        try:
            return await self.present(await self.find(principal, media_id))
        except NotFound:
            # Deleted by its owner since.
            return None

    def _name(
        self,
        media_id: str,
        media_format: MediaFormat,
        kind: MediaKind | None = None,
        suffix: str = "",
    ) -> str:
        day = f"{made_at(media_id):%Y/%m/%d}"
        folders = (self._prefix, self._roots[kind or media_format.kind], day)
        file = f"{media_id}{suffix}.{media_format.extension}"
        return "/".join([folder for folder in folders if folder] + [file])

    async def _store(
        self, media: ObjectStore, name: str, content: Content, media_format: MediaFormat
    ) -> None:
        headers = media_headers(
            media_format,
            name,
            cache_control(self.link_lifetime, is_public=self._public_base_url is not None),
        )
        if isinstance(content, bytes):
            await persist(lambda: media.create(name, content, headers))
        else:
            await media.upload(name, content, headers)

    async def _describe(
        self,
        media: ObjectStore,
        media_id: str,
        name: str,
        media_format: MediaFormat,
        thumbnail: str | None,
    ) -> MediaRecord:
        # Of what is stored, not of what we hold: an earlier run may have stored other bytes.
        async with media.open(name, 0, _MEASURED_BYTES - 1) as stream:
            size = stream.info.size
            head = (
                b"".join([chunk async for chunk in stream.chunks])
                if _has_size(media_format)
                else b""
            )
        width, height = measure(head) if head else (None, None)
        return MediaRecord(
            id=media_id,
            kind=media_format.kind,
            name=name,
            content_type=media_format.content_type,
            size_bytes=size,
            created_at=made_at(media_id),
            width=width,
            height=height,
            thumbnail=thumbnail,
        )

    async def _read(self, principal: str, media_id: str) -> tuple[MediaRecord, str]:
        if not is_id(media_id):
            raise _unknown(media_id)
        state = await self._storage.state()
        try:
            data, info = await state.read(_record_name(principal, media_id))
        except ObjectMissing as error:
            raise _unknown(media_id) from error
        return MediaRecord.model_validate_json(data), info.etag


def cache_control(lifetime: timedelta, *, is_public: bool = False) -> str:
    """Returns how long caches may keep a medium: no longer than a link to it holds.

    What is deleted is then gone from caches, too.
    """
    seconds = max(0, int(lifetime.total_seconds()))
    return f"{'public' if is_public else 'private'}, max-age={seconds}"


def media_headers(media_format: MediaFormat, name: str, cache_control: str) -> ContentHeaders:
    """Returns what a medium says of itself when a browser fetches it from Blob Storage."""
    # A drawing may hold scripts, and Blob Storage cannot send the policy that stops them.
    disposition = "attachment" if media_format is SVG else "inline"
    return ContentHeaders(
        content_type=media_format.content_type,
        cache_control=cache_control,
        disposition=f'{disposition}; filename="{name.rpartition("/")[2]}"',
    )


def measure(head: bytes) -> tuple[int, int] | tuple[None, None]:
    """Returns the width and height that a picture's first bytes tell, in pixels."""
    # Imported late: only those who store pictures need it.
    import imagesize

    try:
        width, height = imagesize.get(io.BytesIO(head))
    except Exception:  # noqa: BLE001  # Whatever it stumbles over, the picture is stored and paid for.
        return None, None
    return (int(width), int(height)) if width > 0 and height > 0 else (None, None)


def _has_size(media_format: MediaFormat) -> bool:
    return media_format.kind == "image"


async def _load(state: ObjectStore, name: str) -> MediaRecord | None:
    try:
        data, _ = await state.read(name)
    except ObjectMissing:
        # Deleted since it was listed.
        return None
    return MediaRecord.model_validate_json(data)


def _record_name(principal: str, media_id: str) -> str:
    return f"media/{owner_key(principal)}/{media_id}.json"


def _work_item(principal: str, media_id: str) -> WorkItem:
    return WorkItem(kind="media", owner=principal, id=media_id)


def _unknown(media_id: str) -> NotFound:
    return NotFound(f"There is no media '{media_id}'.")
