"""Work items: pending operations that another instance can finish.

A work item is written before the work, and removed when it is done. Its name holds its kind, then the
time from which others look after it, so that one listing finds what is due of a kind, of all principals,
oldest first, and then its owner, of whom not too many are worked on at once.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from pydantic import ConfigDict

from shared.storage.objects import ObjectExists, ObjectStore
from shared.storage.records import Record, Records

PREFIX = "work/"
_NAME = re.compile(rf"{PREFIX}[a-z]+/([0-9a-f]{{12}})-([^-]*)-")

WorkKind = Literal["video", "media", "connection"]
WORK_KINDS: tuple[WorkKind, ...] = get_args(WorkKind)


class WorkItem(Record):
    """Something that is under way.

    Attributes:
        kind: A connection that is being made, a medium that is being deleted, or a video job.
        owner: Hash of the principal, as `owner_key` returns it.
        id: Id of the connection, the medium, or the job.
        principal: Name of the principal, for video jobs, whose results are stored under it; else empty.
    """

    model_config = ConfigDict(frozen=True)

    kind: WorkKind
    owner: str
    id: str
    principal: str = ""


@dataclass(frozen=True, slots=True)
class WorkPage:
    """Work items that are due.

    Attributes:
        names: In the order in which they became due.
        cursor: Where the next ones begin; None where there are no more.
    """

    names: tuple[str, ...]
    cursor: str | None


class WorkItems:
    """The work items of all principals.

    Args:
        state: The container that they are in.
    """

    def __init__(self, state: ObjectStore) -> None:
        self._state = state
        self._records = Records(state, WorkItem)

    async def add(self, item: WorkItem, due: datetime) -> None:
        """Stores an item; adding it again changes nothing.

        Args:
            item: What is about to begin.
            due: When others shall look after it.
        """
        with suppress(ObjectExists):
            await self._records.create(_name(item, due), item)

    async def remove(self, item: WorkItem, due: datetime) -> None:
        """Removes an item that was added with the same time."""
        await self.remove_name(_name(item, due))

    async def remove_name(self, name: str) -> None:
        """Removes an item that was listed."""
        await self._records.delete(name)

    async def due(
        self, kind: WorkKind, now: datetime, limit: int, cursor: str | None = None
    ) -> WorkPage:
        """Lists items of a kind that are due; costs one storage request.

        Args:
            kind: The kind.
            now: The time.
            limit: Most items.
            cursor: Where to begin; one that storage no longer knows begins with the oldest.
        """
        try:
            page = await self._state.list(f"{PREFIX}{kind}/", limit, cursor)
        except ValueError:
            page = await self._state.list(f"{PREFIX}{kind}/", limit)
        names = tuple(each.name for each in page.objects if due_at(each.name) <= now)
        is_end = len(names) < len(page.objects)
        return WorkPage(names, None if is_end else page.cursor)

    async def read(self, name: str) -> WorkItem | None:
        """Returns an item; None where it was removed since it was listed."""
        found = await self._records.find(name)
        return found.record if found else None


def due_at(name: str) -> datetime:
    """Returns from when others look after an item; a name of any other form is due for long."""
    found = _NAME.match(name)
    milliseconds = int(found.group(1), 16) if found else 0
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)


def owner_in(name: str) -> str:
    """Returns whose item it is; names of any other form belong to nobody."""
    found = _NAME.match(name)
    return found.group(2) if found else ""


def _name(item: WorkItem, due: datetime) -> str:
    milliseconds = int(due.timestamp() * 1000)
    return f"{PREFIX}{item.kind}/{milliseconds:012x}-{item.owner}-{item.id}.json"
