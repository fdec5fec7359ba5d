"""The index of media: one record for each, with its type, size and origin."""

import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from shared.errors import Conflict, NotFound
from shared.storage.formats import MediaFormat, MediaKind
from shared.storage.ids import is_id, made_at
from shared.storage.objects import (
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    ObjectStore,
    unreadable,
)
from shared.storage.records import Record, Records, Versioned
from shared.storage.retries import Backoff

MAX_PROMPT_CHARS = 1000
MAX_NAME_CHARS = 60

MAX_LISTINGS = 20
"""Maximum listings per page, for principals whose media are mostly of another kind."""

_SEPARATORS = re.compile(r"[\W_]+")


class Origin(BaseModel):
    """Where a medium comes from.

    Attributes:
        name: A short name for people, of words and hyphens.
        tool: The tool that made it; None for uploads.
        model: The model that made it; None for uploads.
        prompt: What the model was asked for, or the text that it spoke, cut to 1,000 characters.
        cost_usd: Its cost in US dollars; None where it is not known.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    tool: str | None = None
    model: str | None = None
    prompt: str | None = None
    cost_usd: float | None = None

    @classmethod
    def of_tool(
        cls, tool: str, model: str | None, prompt: str, cost_usd: float | None = None
    ) -> "Origin":
        """Returns the origin of what a tool made of a prompt, which gives it its name."""
        cut = prompt[:MAX_PROMPT_CHARS]
        return cls(name=slug(prompt), tool=tool, model=model, prompt=cut, cost_usd=cost_usd)

    @classmethod
    def of_file(cls, name: str) -> "Origin":
        """Returns the origin of an upload that its caller calls by a file name, or by none."""
        name = re.split(r"[/\\]", name)[-1]
        stem, dot, _ = name.rpartition(".")
        return cls(name=slug(stem if dot else name))


class MediaRecord(Record):
    """What the index knows of one medium.

    Attributes:
        object: Its object in the container of media.
        thumbnail: Object of a still picture of it.
        origin: Where it comes from.
        is_deleted: Whether its deletion has begun.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    kind: MediaKind
    object: str
    content_type: str
    size_bytes: int
    created_at: datetime
    origin: Origin
    width: int | None = None
    height: int | None = None
    thumbnail: str | None = None
    is_deleted: bool = False

    @property
    def file_name(self) -> str:
        """The last part of its object's name."""
        return self.object.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class MediaPage:
    """A part of a principal's media, newest first.

    Attributes:
        cursor: Where the next part begins; None at the end.
    """

    records: tuple[MediaRecord, ...]
    cursor: str | None


class MediaIndex:
    """The records of all media.

    Args:
        state: The container that they are in.
    """

    def __init__(self, state: ObjectStore) -> None:
        self._records = Records(state, MediaRecord)

    async def get(self, owner: str, media_id: str) -> Versioned[MediaRecord]:
        """Returns the record of a medium, also of one whose deletion has begun.

        Args:
            owner: Hash of the principal, as `owner_key` returns it.
            media_id: Id of the medium.

        Raises:
            NotFound: The owner has none of that id.
        """
        if not is_id(media_id):
            raise unknown(media_id)
        try:
            return await self._records.get(_name(owner, media_id))
        except ObjectMissing as error:
            raise unknown(media_id) from error

    async def find(self, owner: str, media_id: str) -> MediaRecord | None:
        """Returns the record of a medium, None where there is none."""
        found = await self._records.find(_name(owner, media_id))
        return found.record if found else None

    async def list(
        self, owner: str, kind: MediaKind | None, limit: int, cursor: str | None
    ) -> MediaPage:
        """Returns the next of an owner's media, newest first.

        Args:
            owner: Hash of the principal.
            kind: Only these; a page may then hold fewer than ``limit`` before the end.
            limit: Most records to return, up to 100.
            cursor: Where to begin, from the last page.
        """
        found: list[MediaRecord] = []
        for _ in range(MAX_LISTINGS):
            page = await self._records.list(f"media/{owner}/", limit - len(found), cursor)
            found += [
                each.record
                for each in page.records
                if not each.record.is_deleted and kind in (None, each.record.kind)
            ]
            cursor = page.cursor
            if cursor is None or len(found) == limit:
                break
        return MediaPage(tuple(found), cursor)

    async def ids(self, owner: str, begin: str, limit: int) -> Sequence[str]:
        """Returns the newest ids of an owner's media that begin with a text; one listing, no reads.

        Args:
            owner: Hash of the principal.
            begin: The first hex digits of the ids; other texts match none.
            limit: Most ids to return.
        """
        return await self._records.ids(f"media/{owner}/", begin, limit)

    async def add(self, owner: str, record: MediaRecord) -> MediaRecord:
        """Stores a record, and returns it, or the one that an earlier run has stored.

        Raises:
            NotFound: The medium was deleted since.
            StorageUnavailable: It is not stored.
        """
        backoff = Backoff()
        while True:
            try:
                await self._records.create(_name(owner, record.id), record)
            except ObjectExists:
                earlier = await self.find(owner, record.id)
                if earlier is None:
                    await backoff.wait(unreadable())
                    continue
                if earlier.is_deleted:
                    raise unknown(record.id) from None
                return earlier
            return record

    async def hide(self, stored: Versioned[MediaRecord]) -> None:
        """Begins the deletion of a medium: from now on it is not found.

        Raises:
            Conflict: Another request deletes it.
        """
        hidden = stored.record.model_copy(update={"is_deleted": True})
        try:
            await self._records.replace(stored, hidden)
        except ObjectChanged as error:
            raise Conflict(f"The media '{hidden.id}' is being deleted.", 1) from error

    async def remove(self, owner: str, media_id: str) -> None:
        """Removes a record."""
        await self._records.delete(_name(owner, media_id))


def make_record(
    media_id: str, name: str, media_format: MediaFormat, size: int, head: bytes, origin: Origin
) -> MediaRecord:
    """Returns the record of a stored medium.

    Args:
        media_id: Its id.
        name: Its object.
        media_format: Its format.
        size: Its bytes.
        head: Its first bytes, which a picture is measured by.
        origin: Where it comes from; without a name it gets that of its kind.
    """
    width, height = _measure(head) if has_size(media_format) and head else (None, None)
    return MediaRecord(
        id=media_id,
        kind=media_format.kind,
        object=name,
        content_type=media_format.content_type,
        size_bytes=size,
        created_at=made_at(media_id),
        origin=origin if origin.name else origin.model_copy(update={"name": media_format.kind}),
        width=width,
        height=height,
    )


def has_size(media_format: MediaFormat) -> bool:
    """Returns whether media of a format are measured."""
    return media_format.kind == "image"


def slug(text: str) -> str:
    """Returns the first words of a text in lower case, joined by hyphens; empty without words."""
    words = _SEPARATORS.split(unicodedata.normalize("NFKC", text[:MAX_PROMPT_CHARS]).lower())
    chosen = ""
    for word in filter(None, words):
        longer = f"{chosen}-{word}" if chosen else word[:MAX_NAME_CHARS]
        if len(longer) > MAX_NAME_CHARS:
            break
        chosen = longer
    return chosen


def unknown(media_id: str) -> NotFound:
    """Returns the error for an id that the caller has no medium of."""
    return NotFound(f"There is no media '{media_id}'.")


def _measure(head: bytes) -> tuple[int, int] | tuple[None, None]:
    # Imported late: only those who store pictures need it.
    import imagesize

    try:
        width, height = imagesize.get(io.BytesIO(head))
    except Exception:  # noqa: BLE001  # Whatever it stumbles over, the picture is stored and paid for.
        return None, None
    return (int(width), int(height)) if width > 0 and height > 0 else (None, None)


def _name(owner: str, media_id: str) -> str:
    return f"media/{owner}/{media_id}.json"
