"""Media: stored once under unique names, listed by their records, returned as links.

The object is written first and its record last. What has no record does not exist for anybody, so a
process that dies in between leaves nothing that could be listed or linked; `shared.storage.orphans`
finds it. The parts: `objects` (the bytes), `index` (the records), `view` (media as callers see them);
`shared/storage/links.py` signs.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.errors import NotFound, StorageUnavailable
from shared.parallel import gather_limited
from shared.settings import Settings
from shared.storage.formats import MediaFormat, MediaKind
from shared.storage.ids import iso_utc, owner_key
from shared.storage.media.index import (
    MediaIndex,
    MediaPage,
    MediaRecord,
    Origin,
    make_record,
    unknown,
)
from shared.storage.media.objects import (
    OWNER,
    THUMBNAIL,
    THUMBNAIL_SUFFIX,
    Content,
    MediaObjects,
    MediaSeals,
    Upload,
)
from shared.storage.media.view import (
    MAX_FRESH_MEDIA,
    Media,
    MediaInfo,
    find_media,
    with_links,
)
from shared.storage.objects import ObjectMissing
from shared.storage.service import Storage
from shared.storage.work_items import WorkItem, WorkItems

DELETION_TIME = timedelta(minutes=10)
"""Time after which a deletion counts as interrupted and housekeeping finishes it; none takes longer."""

_PARALLEL_READS = 8
_NO_ORIGIN = Origin(name="")

logger = logging.getLogger(__name__)


class MediaStore:
    """The media of all principals.

    Args:
        storage: Where they are.
        settings: Names of folders, public URL and lifetime of links.
    """

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._work_items = WorkItems(storage.state)
        self.index = MediaIndex(storage.state)
        """Their records."""
        self.objects = MediaObjects(storage, settings)
        """How objects are called and stored."""
        self.seals = MediaSeals(storage)
        """What objects say of themselves to us alone."""

    async def save(
        self,
        principal: str,
        media_id: str,
        content: Content | None,
        media_format: MediaFormat,
        origin: Origin = _NO_ORIGIN,
        thumbnail: tuple[bytes, MediaFormat] | None = None,
        cost: Callable[[], float | None] | None = None,
    ) -> MediaRecord:
        """Stores a medium and then its record; what an earlier run has stored stays as it is.

        Args:
            principal: Whose it is.
            media_id: Its id; a second run of the same operation gives the same one.
            content: The bytes, whole or as they come; None where an earlier run has stored them.
            media_format: Their format.
            origin: Where it comes from.
            thumbnail: A still picture of it and its format; left out where it cannot be stored.
            cost: Returns its cost in US dollars, where that is known only when all bytes have come.

        Raises:
            StorageUnavailable: It is not stored.
        """
        owner = owner_key(principal)
        seal = await self.seals.seal(owner, media_id, origin)
        still_name = None
        if thumbnail is not None:
            still_name = self.objects.name(
                media_id, thumbnail[1], media_format.kind, THUMBNAIL_SUFFIX
            )
        upload = Upload(
            name=self.objects.name(media_id, media_format),
            media_format=media_format,
            metadata={OWNER: seal} | ({THUMBNAIL: still_name} if still_name else {}),
        )
        size, head = await self.objects.store(upload, content)
        if thumbnail is not None and still_name is not None:
            # After what it belongs to: a thumbnail alone would belong to nothing.
            still = Upload(still_name, thumbnail[1], {OWNER: seal})
            try:
                await self.objects.store(still, thumbnail[0])
            except StorageUnavailable as error:
                logger.warning("A thumbnail was not stored: %s", error.code)
                still_name = None
        if cost is not None:
            origin = origin.model_copy(update={"cost_usd": cost()})
        record = make_record(media_id, upload.name, media_format, size, head, origin)
        return await self.index.add(owner, record.model_copy(update={"thumbnail": still_name}))

    async def check_reachable(self) -> None:
        """Makes sure, before anything is paid for, that what comes of it can be stored.

        Raises:
            NotConfigured: There is no storage.
            StorageUnavailable: It does not answer, or refuses us.
        """
        await self.seals.load()
        with suppress(ObjectMissing):
            await self._storage.media.describe("is-reachable")

    async def stored_format(
        self, media_id: str, formats: Iterable[MediaFormat]
    ) -> MediaFormat | None:
        """Returns in which of some formats an object was stored under an id, None for in none."""
        for media_format in formats:
            with suppress(ObjectMissing):
                await self._storage.media.describe(self.objects.name(media_id, media_format))
                return media_format
        return None

    async def find(self, principal: str, media_id: str) -> MediaRecord:
        """Returns the record of a medium.

        Raises:
            NotFound: The principal has none of that id.
        """
        record = (await self.index.get(owner_key(principal), media_id)).record
        if record.is_deleted:
            raise unknown(media_id)
        return record

    async def read(self, record: MediaRecord) -> bytes:
        """Returns all bytes of a medium.

        Raises:
            NotFound: They are gone.
        """
        try:
            return (await self._storage.media.read(record.object))[0]
        except ObjectMissing as error:
            raise unknown(record.id) from error

    async def list(
        self, principal: str, kind: MediaKind | None, limit: int, cursor: str | None
    ) -> MediaPage:
        """Returns the next of a principal's media, newest first.

        Args:
            principal: Whose.
            kind: Only these; a page may then hold fewer than ``limit`` before the end.
            limit: Most records to return, up to 100.
            cursor: Where to begin, from the last page.

        Raises:
            ValueError: The cursor is not one that a listing gave.
        """
        return await self.index.list(owner_key(principal), kind, limit, cursor)

    @property
    def is_configured(self) -> bool:
        """Whether there is any storage."""
        return self._storage.is_configured

    async def ids(self, principal: str, begin: str, limit: int) -> Sequence[str]:
        """Returns the newest ids of a principal's media that begin with a text, without reading them."""
        return await self.index.ids(owner_key(principal), begin, limit)

    async def delete(self, principal: str, media_id: str) -> None:
        """Deletes a medium; a deletion that was interrupted is finished by the next one.

        Raises:
            NotFound: The principal has none of that id.
            Conflict: Another request deletes it.
        """
        await self._delete(owner_key(principal), media_id)

    async def _delete(self, owner: str, media_id: str) -> None:
        stored = await self.index.get(owner, media_id)
        item = WorkItem(kind="media", owner=owner, id=media_id)
        due = datetime.now(UTC) + DELETION_TIME
        if not stored.record.is_deleted:
            await self._work_items.add(item, due)
            # Hidden first: nobody is to be sent to an object that is gone already.
            await self.index.hide(stored)
        await self.erase(owner, stored.record)
        # Where that fails, housekeeping sees that the record is gone.
        with suppress(StorageUnavailable):
            await self._work_items.remove(item, due)

    async def finish_deletion(self, owner: str, media_id: str) -> bool:
        """Finishes a deletion that was interrupted, and says whether there was one.

        Args:
            owner: Hash of the principal, as `owner_key` returns it.
            media_id: Id of the medium.
        """
        try:
            record = (await self.index.get(owner, media_id)).record
            if record.is_deleted:
                await self._delete(owner, media_id)
        except NotFound:
            return False
        return record.is_deleted

    async def erase(self, owner: str, record: MediaRecord) -> None:
        """Deletes the objects of a medium, and then its record."""
        names = [each for each in (record.object, record.thumbnail) if each]
        await asyncio.gather(*map(self._storage.media.delete, names))
        await self.index.remove(owner, record.id)

    async def present(self, record: MediaRecord) -> Media:
        """Returns a medium as tools return it, with fresh links."""
        url, expires_at = await self.link(record.object)
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

    async def info(self, record: MediaRecord) -> MediaInfo:
        """Returns a medium with fresh links, and with where it comes from."""
        origin = record.origin
        return MediaInfo(
            **await self.present(record),
            kind=record.kind,
            name=origin.name,
            tool=origin.tool,
            model=origin.model,
            prompt=origin.prompt,
            cost_usd=origin.cost_usd,
        )

    async def link(self, name: str) -> tuple[str, str | None]:
        """Returns a URL for browsers and its expiry; None if it never expires.

        It is short where the app can be reached, so that a model can copy it without an error.
        """
        if self.objects.public_base_url is not None:
            return f"{self.objects.public_base_url}/{name}", None
        expires_at = datetime.now(UTC).replace(microsecond=0) + self.objects.link_lifetime
        signer, short = self._storage.signer, self.objects.code(name)
        if signer is not None and short is not None:
            return await signer.sign_short(*short, expires_at), iso_utc(expires_at)
        url = await self._storage.media.link(name, expires_at)
        return url, None if url.startswith("file:") else iso_utc(expires_at)

    async def refresh(self, principal: str, document: Any, within: Any) -> Any:
        """Returns a stored JSON value with fresh links in place of those that have expired since.

        Links in texts are those of the media beside them: a model quotes what a tool returned. Of more
        than 100 media the last 100 get fresh links.

        Args:
            principal: Whose media.
            document: The value.
            within: The parts of it that media are looked for in: not what other servers wrote, who
                could name any number of them.
        """
        # In the order in which they stand there, each once.
        ids = list(dict.fromkeys(media["id"] for media in find_media(within)))[-MAX_FRESH_MEDIA:]
        found = await gather_limited(_PARALLEL_READS, (self._renew(principal, id_) for id_ in ids))
        fresh = {media["id"]: media for media in found if media is not None}
        return with_links(document, fresh, within)

    async def _renew(self, principal: str, media_id: str) -> Media | None:
        try:
            return await self.present(await self.find(principal, media_id))
        except NotFound:
            # Deleted by its owner since.
            return None
