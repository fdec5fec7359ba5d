"""Media: stored once under names of their own, listed by small records, handed out as links.

The object is written first and its record last. What has no record does not exist for anybody, so a
process that dies in between leaves nothing that could be listed or linked.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from shared.errors import Conflict, NotFound, StorageUnavailable
from shared.parallel import gather_limited
from shared.settings import Settings
from shared.storage.formats import MediaFormat, MediaKind, format_of_name
from shared.storage.ids import is_id, iso_utc, owner_key
from shared.storage.media_links import MAX_FRESH_MEDIA, Media, find_media, with_links
from shared.storage.media_objects import Content, MediaObjects, Upload
from shared.storage.media_records import MediaRecord, make_record, record_name
from shared.storage.objects import (
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
)
from shared.storage.owner_seals import OwnerSeals
from shared.storage.records import Records, Versioned
from shared.storage.retries import Backoff
from shared.storage.service import Storage
from shared.storage.work_items import WorkItem, WorkItems

DELETION_TIME = timedelta(minutes=10)
"""Time after which a deletion counts as interrupted and housekeeping finishes it; none takes longer."""

_PARALLEL_READS = 8
_MAX_LISTINGS = 20
"""Maximum listings per page, for principals whose media are mostly of another kind."""

OWNER = "owner"
"""Metadata of a medium's object: whose it is, sealed."""

THUMBNAIL = "thumbnail"
"""Metadata of a video's object: the object of its thumbnail."""

logger = logging.getLogger(__name__)

Settlement = Literal["young", "recorded", "adopted", "removed", "gone", "unknown"]


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
        self._records = Records(storage.state, MediaRecord)
        self._work_items = WorkItems(storage.state)
        self.objects = MediaObjects(storage, settings)
        """How objects are called and stored."""
        self._seals = OwnerSeals(storage)

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
            thumbnail: A still picture of it and its format; left out where it cannot be stored.

        Raises:
            StorageUnavailable: It is not stored.
        """
        owner = owner_key(principal)
        seal = await self._seals.seal(owner, media_id)
        still_name = None
        if thumbnail is not None:
            still_name = self.objects.name(media_id, thumbnail[1], media_format.kind, "-thumbnail")
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
        record = make_record(media_id, upload.name, media_format, size, head, still_name)
        return await self._publish(owner, record)

    async def settle(self, name: str, settled_after: timedelta) -> Settlement:
        """Gives an object the record that its process died before writing, or finishes its deletion.

        Args:
            name: The object in the container of media.
            settled_after: Age up to which nothing is done: an upload may be under way.

        Returns:
            What was done, or why nothing was: ``young``, ``recorded``, ``gone`` since it was listed, or
            ``unknown`` where the object does not say whose it is.
        """
        media_id, _, suffix = name.rpartition("/")[2].partition(".")[0].partition("-")
        media_format = format_of_name(name)
        try:
            info = await self._storage.media.describe(name)
            if info.age_seconds < settled_after.total_seconds():
                return "young"
            owner = await self._seals.open(info.metadata.get(OWNER, ""), media_id)
            if not owner or media_format is None or not is_id(media_id):
                return "unknown"
            found = await self._records.find(record_name(owner, media_id))
            if found is not None and found.record.is_deleted:
                await self._erase(owner, found.record)
                return "removed"
            # A thumbnail is stored after its medium, which is adopted with it.
            if found is not None or suffix:
                return "recorded"
            still = await self._existing(info.metadata.get(THUMBNAIL))
            size, head = await self.objects.read_head(name, media_format)
        except ObjectMissing:
            return "gone"
        await self._publish(owner, make_record(media_id, name, media_format, size, head, still))
        return "adopted"

    async def check_reachable(self) -> None:
        """Makes sure, before anything is paid for, that what comes of it can be stored.

        Raises:
            NotConfigured: There is no storage.
            StorageUnavailable: It does not answer, or refuses us.
        """
        await self._seals.load()
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
        record = (await self._read(owner_key(principal), media_id)).record
        if record.is_deleted:
            raise _unknown(media_id)
        return record

    async def read(self, record: MediaRecord) -> bytes:
        """Returns all bytes of a medium.

        Raises:
            NotFound: They are gone.
        """
        try:
            return (await self._storage.media.read(record.name))[0]
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
        found: list[MediaRecord] = []
        for _ in range(_MAX_LISTINGS):
            page = await self._records.list(
                f"media/{owner_key(principal)}/", limit - len(found), cursor
            )
            found += [
                each.record
                for each in page.records
                if not each.record.is_deleted and kind in (None, each.record.kind)
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
        await self._delete(owner_key(principal), media_id)

    async def _delete(self, owner: str, media_id: str) -> None:
        stored = await self._read(owner, media_id)
        record = stored.record
        item = WorkItem(kind="media", owner=owner, id=media_id)
        due = datetime.now(UTC) + DELETION_TIME
        if not record.is_deleted:
            await self._work_items.add(item, due)
            # Hidden first: nobody is to be sent to an object that is gone already.
            hidden = record.model_copy(update={"is_deleted": True})
            try:
                await self._records.replace(stored, hidden)
            except ObjectChanged as error:
                raise Conflict(f"The media '{media_id}' is being deleted.", 1) from error
        await self._erase(owner, record)
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
            record = (await self._read(owner, media_id)).record
            if record.is_deleted:
                await self._delete(owner, media_id)
        except NotFound:
            return False
        return record.is_deleted

    async def _erase(self, owner: str, record: MediaRecord) -> None:
        await asyncio.gather(
            *(self._storage.media.delete(each) for each in (record.name, record.thumbnail) if each)
        )
        await self._records.delete(record_name(owner, record.id))

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
        """Returns a URL for browsers and its expiry; None if it never expires."""
        if self.objects.public_base_url is not None:
            return f"{self.objects.public_base_url}/{name}", None
        expires_at = datetime.now(UTC).replace(microsecond=0) + self.objects.link_lifetime
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

    async def _existing(self, name: str | None) -> str | None:
        if name is not None:
            with suppress(ObjectMissing):
                return (await self._storage.media.describe(name)).name
        return None

    async def _publish(self, owner: str, record: MediaRecord) -> MediaRecord:
        name = record_name(owner, record.id)
        backoff = Backoff()
        while True:
            try:
                await self._records.create(name, record)
            except ObjectExists:
                if (earlier := await self._records.find(name)) is None:
                    await backoff.wait(
                        StorageUnavailable(
                            "Storage reports that the object exists but cannot return it. Try again."
                        )
                    )
                    continue
                if earlier.record.is_deleted:
                    raise _unknown(record.id) from None
                return earlier.record
            return record

    async def _read(self, owner: str, media_id: str) -> Versioned[MediaRecord]:
        if not is_id(media_id):
            raise _unknown(media_id)
        try:
            return await self._records.get(record_name(owner, media_id))
        except ObjectMissing as error:
            raise _unknown(media_id) from error


def _unknown(media_id: str) -> NotFound:
    return NotFound(f"There is no media '{media_id}'.")
