"""Media whose process died between storing their bytes and writing their record.

A medium is stored before its record, so such bytes are listed for nobody. They were paid for: whoever
they belong to gets a record for them.

Names of media begin with the day and with the time of their id, so that a run lists only what is new:
one bucket of time after the other, and a small object remembers which is the next.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from shared.storage.formats import format_of_name
from shared.storage.ids import bucket_limits, bucket_of, bucket_prefix, is_id
from shared.storage.media import MediaStore
from shared.storage.media.index import make_record
from shared.storage.media.objects import OWNER, THUMBNAIL
from shared.storage.objects import ObjectConflict, ObjectMissing, ObjectPage
from shared.storage.records import Record, Records, Versioned
from shared.storage.service import Storage

SETTLED_AFTER = timedelta(hours=1)
"""Younger objects may belong to an upload that is under way."""

FIRST_RUN = timedelta(days=7)
"""How far back the first run of all begins."""

MAX_LISTINGS = 300
"""Maximum listings per run."""

PAGE = 200

_POSITION = "housekeeping/orphans.json"

Settlement = Literal["young", "recorded", "adopted", "removed", "gone", "unknown"]


@dataclass(frozen=True, slots=True)
class OrphanCounts:
    """What one run of `Orphans.settle` did.

    Attributes:
        adopted: Objects that got the record that was missing.
        removed: Objects that were deleted, because their medium was.
        unknown: Objects that name no owner or are in no known format; they are left alone.
    """

    adopted: int = 0
    removed: int = 0
    unknown: int = 0


class _Position(Record):
    """Where the next run begins.

    Attributes:
        bucket: The bucket of time to look at.
        folder: How many of its folders are done.
        cursor: Where in the next folder.
    """

    bucket: int
    folder: int = 0
    cursor: str | None = None


class Orphans:
    """Finds media without a record.

    Args:
        storage: Where they are.
        media: Writes their records.
        settled_after: Age, by the clock of storage, up to which an object is left alone.
        first_run: How far back the first run of all begins.
    """

    def __init__(
        self,
        storage: Storage,
        media: MediaStore,
        settled_after: timedelta = SETTLED_AFTER,
        first_run: timedelta = FIRST_RUN,
    ) -> None:
        self._storage = storage
        self._media = media
        self._positions = Records(storage.state, _Position)
        self._settled_after = settled_after
        self._first_run = first_run

    async def settle(self, limit: int = 500) -> OrphanCounts:
        """Adopts or removes the next of them; the next run goes on where this one ended.

        Several instances may run it at once. Objects younger than an hour by the clock of storage are
        left alone: their upload may be under way.

        Args:
            limit: Most objects to look at.

        Raises:
            StorageUnavailable: Storage failed; what was settled stays settled.
        """
        counts = Counter[str]()
        stored = await self._positions.find(_POSITION)
        start = _Position(bucket=bucket_of(self._storage.clock() - self._first_run))
        position = stored.record if stored else start
        goes_on = True
        for _ in range(MAX_LISTINGS):
            if not goes_on or counts.total() >= limit:
                break
            before = counts.total()
            position, goes_on = await self._settle_page(position, limit - before, counts)
            if counts.total() > before:
                # A run that is cut off goes on after what it has done.
                stored = await self._save(position, stored)
        await self._save(position, stored)
        return OrphanCounts(counts["adopted"], counts["removed"], counts["unknown"])

    async def _settle_page(
        self, position: _Position, limit: int, counts: Counter[str]
    ) -> tuple[_Position, bool]:
        """Settles a part of a bucket; returns where to go on, and whether to do so in this run."""
        first, last = bucket_limits(position.bucket)
        settled_until = self._storage.clock() - self._settled_after
        if first > settled_until:
            return position, False
        folders = self._media.objects.folders(first, last)
        page = await self._list(folders, position, min(limit, PAGE))
        for each in page.objects:
            what = await self._settle(each.name)
            if what == "young":
                return position, False
            counts[what] += 1
        if page.cursor is not None:
            return position.model_copy(update={"cursor": page.cursor}), True
        if position.folder + 1 < len(folders):
            return _Position(bucket=position.bucket, folder=position.folder + 1), True
        if last > settled_until:
            # The bucket is not over: the next run looks at all of it again.
            return _Position(bucket=position.bucket), False
        return _Position(bucket=position.bucket - 1), True

    async def _list(self, folders: Sequence[str], position: _Position, limit: int) -> ObjectPage:
        folder = folders[min(position.folder, len(folders) - 1)]
        prefix = f"{folder}/{bucket_prefix(position.bucket)}"
        try:
            return await self._storage.media.list(prefix, limit, position.cursor)
        except ValueError:
            # The folders of the settings have changed since.
            return await self._storage.media.list(prefix, limit)

    async def _settle(self, name: str) -> Settlement:
        """Gives an object the record that its process died before writing, or finishes its deletion.

        Args:
            name: The object in the container of media.

        Returns:
            What was done, or why nothing was: ``young``, ``recorded``, ``gone`` since it was listed, or
            ``unknown`` where the object does not say whose it is.
        """
        media_id, _, suffix = name.rpartition("/")[2].partition(".")[0].partition("-")
        media_format = format_of_name(name)
        index, objects = self._media.index, self._media.objects
        try:
            about = await self._storage.media.describe(name)
            if about.age_seconds < self._settled_after.total_seconds():
                return "young"
            sealed = await self._media.seals.open(about.metadata.get(OWNER, ""), media_id)
            if sealed is None or media_format is None or not is_id(media_id):
                return "unknown"
            record = await index.find(sealed.owner, media_id)
            if record is not None and record.is_deleted:
                await self._media.erase(sealed.owner, record)
                return "removed"
            # A thumbnail is stored after its medium, which is adopted with it.
            if record is not None or suffix:
                return "recorded"
            still = await self._existing(about.metadata.get(THUMBNAIL))
            size, head = await objects.read_head(name, media_format)
        except ObjectMissing:
            return "gone"
        record = make_record(media_id, name, media_format, size, head, sealed.origin)
        await index.add(sealed.owner, record.model_copy(update={"thumbnail": still}))
        return "adopted"

    async def _existing(self, name: str | None) -> str | None:
        if name is not None:
            with suppress(ObjectMissing):
                return (await self._storage.media.describe(name)).name
        return None

    async def _save(
        self, position: _Position, stored: Versioned[_Position] | None
    ) -> Versioned[_Position] | None:
        # Where another instance has run meanwhile, its position is as good.
        with suppress(ObjectConflict):
            if stored is None:
                return await self._positions.create(_POSITION, position)
            return await self._positions.replace(stored, position)
        return stored
