"""Regular work: finishes abandoned jobs and deletes expired or orphaned data.

A timer runs it every five minutes, on any instance; two at once do no harm. A run is bounded in items
and in time, and the next one goes on where it stopped. What fails is counted, logged, and tried again by
later runs.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic

from pydantic import ConfigDict, Field

from shared.auth import Principal
from shared.context import CallContext
from shared.deadline import Deadline, remaining_seconds, time_limit
from shared.errors import GatewayError, NotFound
from shared.services import Services
from shared.storage import (
    WORK_KINDS,
    ObjectConflict,
    Orphans,
    Record,
    Records,
    Versioned,
    WorkItem,
    WorkItems,
    WorkKind,
    due_at,
    owner_in,
)

SCHEDULE = "0 */5 * * * *"
"""Every five minutes, as an NCRONTAB expression."""
INTERVAL_SECONDS = 300.0

FORGET_AFTER = timedelta(days=7)
"""Age at which a work item is given up; no provider keeps a video for longer."""

LONGEST_ORDER = timedelta(hours=1)
"""Age at which a video job without a record was never ordered."""

RESULTS_KEPT = timedelta(days=2)
"""Age at which results of keys, and tasks, go from a folder; Blob Storage has a lifecycle rule."""

ROLLED_UP_DAYS = 3
"""Days whose usage each run rolls up, again where calls were settled late."""

FIRST_ROLLED_UP_DAYS = 35
"""Days whose usage the first run of a process rolls up, for those on which none ran."""

_POSITION = "housekeeping/work.json"

_COUNTED = (
    "videos_checked",
    "videos_ended",
    "connections_removed",
    "media_removed",
    "items_given_up",
    "orphans_adopted",
    "orphans_removed",
    "orphans_unknown",
    "results_removed",
    "tasks_removed",
    "days_rolled_up",
    "errors",
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one run does at most.

    Attributes:
        items: Work items of each kind looked at, and how many pages of them are listed.
        owner_items: Of these, items of one owner; what he has more waits for a later run.
        objects: Media, and results of idempotency keys, looked at.
        at_a_time: Items of each kind worked on together.
        start_seconds: Time in which items are begun.
        item_seconds: Time for each item, such as for copying a video.
        object_seconds: Time for media without a record.
    """

    items: int = 100
    owner_items: int = 25
    objects: int = 500
    at_a_time: int = 8
    start_seconds: float = 60.0
    item_seconds: float = 120.0
    object_seconds: float = 60.0


class _Position(Record):
    """Where the next run goes on: among work items of each kind, and in a folder among what gets old."""

    model_config = ConfigDict(frozen=True)

    cursors: dict[WorkKind, str | None] = Field(default_factory=dict)
    results: str | None = None
    tasks: str | None = None


class Housekeeping:
    """Runs regular work for all principals.

    Args:
        services: What knows how to finish and remove things.
        problems: A sentence for each malformed setting; while there is one, nothing is done.
        bounds: How much one run does.
        clock: Tells the time.
        orphans: Finds media without a record.
    """

    def __init__(
        self,
        services: Services,
        problems: Sequence[str] = (),
        bounds: Bounds | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        orphans: Orphans | None = None,
    ) -> None:
        self._services = services
        self._problems = problems
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._state = services.storage.state
        self._positions = Records(self._state, _Position)
        self._items = WorkItems(self._state)
        self._has_rolled_up = False
        self._orphans = orphans or Orphans(services.storage, services.media)

    async def run(self) -> Counter[str]:
        """Does the next part of all regular work and logs one line about it.

        Returns:
            What was done, as in the line; ``errors`` are tried again.

        Raises:
            GatewayError: Storage failed, and the run could not be done. The line tells the code.
        """
        counts = Counter(dict.fromkeys(_COUNTED, 0))
        if self._problems or not self._services.storage.is_configured:
            logger.warning(
                "Housekeeping skipped: storage is not configured or a setting is malformed."
            )
            return counts
        started = monotonic()
        code = None
        try:
            await self._run_all(counts)
        except Exception as error:
            counts["errors"] += 1
            code = error.code if isinstance(error, GatewayError) else "internal_error"
            raise
        finally:
            milliseconds = round((monotonic() - started) * 1000, 1)
            line: dict[str, float | str] = {"duration_ms": milliseconds, **counts}
            if code is not None:
                line["code"] = code
            level = logging.WARNING if counts["errors"] else logging.INFO
            logger.log(level, "housekeeping %s", json.dumps(line))
        return counts

    async def _run_all(self, counts: Counter[str]) -> None:
        stored = await self._positions.find(_POSITION)
        position = stored.record if stored else _Position()
        # Each kind has a turn of its own, so that much work of one keeps nobody else's waiting.
        turns = [self._work_off(kind, position.cursors.get(kind), counts) for kind in WORK_KINDS]
        cursors = dict(zip(WORK_KINDS, await _all_of(turns), strict=True))
        await self._attempt(self._settle_orphans(counts), counts, "on media without a record")
        await self._attempt(self._roll_up(counts), counts, "on usage")
        results = tasks = None
        if self._services.storage.is_local:
            results = await self._remove_old("idempotency/", position.results, counts)
            tasks = await self._remove_old("mcp-tasks/", position.tasks, counts)
        await self._save(stored, _Position(cursors=cursors, results=results, tasks=tasks))

    async def _work_off(
        self, kind: WorkKind, cursor: str | None, counts: Counter[str]
    ) -> str | None:
        """Works on the items of a kind that are due, and returns where the next run goes on."""
        start = Deadline.after(self._bounds.start_seconds)

        async def work_on(name: str) -> None:
            await self._attempt(self._settle_item(name, counts), counts, f"on {name}")

        taken: Counter[str] = Counter()
        for _ in range(self._bounds.items):
            at_a_time = min(self._bounds.at_a_time, self._bounds.items - taken.total())
            if not at_a_time or not start.remaining():
                break
            page = await self._items.due(kind, self._clock(), at_a_time, cursor)
            await asyncio.gather(*map(work_on, self._take(page.names, taken)))
            cursor = page.cursor
            if cursor is None:
                break
        return cursor

    def _take(self, names: Sequence[str], taken: Counter[str]) -> Sequence[str]:
        """Returns the items whose owner has not had his share yet, and counts them for it."""
        chosen = []
        for name in names:
            owner = owner_in(name)
            if taken[owner] < self._bounds.owner_items:
                taken[owner] += 1
                chosen.append(name)
        return chosen

    async def _settle_item(self, name: str, counts: Counter[str]) -> None:
        age = self._clock() - due_at(name)
        is_done = False
        try:
            async with time_limit(self._bounds.item_seconds):
                item = await self._items.read(name)
                is_done = item is None or await self._work_on(item, age, counts)
        finally:
            if is_done or age > FORGET_AFTER:
                await self._items.remove_name(name)
                counts["items_given_up"] += not is_done

    async def _work_on(self, item: WorkItem, age: timedelta, counts: Counter[str]) -> bool:
        """Works on what an item names, and says whether there is nothing more to do."""
        if item.kind == "connection":
            was_deleted = await self._services.connections.remove_abandoned(item.owner, item.id)
            counts["connections_removed"] += bool(was_deleted)
            return was_deleted is not None
        if item.kind == "media":
            counts["media_removed"] += await self._services.media.finish_deletion(
                item.owner, item.id
            )
            return True
        counts["videos_checked"] += 1
        deadline = Deadline.after(remaining_seconds())
        context = CallContext(Principal(item.principal, frozenset()), deadline)
        try:
            has_ended = await self._services.video_jobs.poll(item.id, context)
        except NotFound:
            # Its order failed, or is under way.
            return age > LONGEST_ORDER
        counts["videos_ended"] += has_ended
        return has_ended

    async def _settle_orphans(self, counts: Counter[str]) -> None:
        async with time_limit(self._bounds.object_seconds):
            settled = await self._orphans.settle(self._bounds.objects)
        counts["orphans_adopted"] += settled.adopted
        counts["orphans_removed"] += settled.removed
        counts["orphans_unknown"] += settled.unknown

    async def _roll_up(self, counts: Counter[str]) -> None:
        days = ROLLED_UP_DAYS if self._has_rolled_up else FIRST_ROLLED_UP_DAYS
        async with time_limit(self._bounds.object_seconds):
            counts["days_rolled_up"] += await self._services.ledger.rollups.roll_up(days)
        self._has_rolled_up = True

    async def _remove_old(
        self, folder: str, cursor: str | None, counts: Counter[str]
    ) -> str | None:
        """Removes what is old in a folder, and returns where the next run goes on."""
        count = "tasks_removed" if folder == "mcp-tasks/" else "results_removed"
        page = await self._state.list(folder, self._bounds.objects, cursor)
        for each in page.objects:
            if self._clock() - each.modified_at > RESULTS_KEPT:
                counts[count] += await self._state.delete(each.name)
        return page.cursor

    async def _attempt(self, work: Awaitable[None], counts: Counter[str], what: str) -> None:
        """Does one piece of work; its failure is counted, and does not end the others."""
        try:
            await work
        except GatewayError as error:
            counts["errors"] += 1
            logger.warning("Work %s failed and will be tried again: %s", what, error.code)
        except Exception:
            counts["errors"] += 1
            logger.exception("Work %s failed and will be tried again", what)

    async def _save(self, stored: Versioned[_Position] | None, position: _Position) -> None:
        # Where another instance ran meanwhile, its position is as good.
        with suppress(ObjectConflict):
            if stored is None:
                if position != _Position():
                    await self._positions.create(_POSITION, position)
            elif stored.record != position:
                await self._positions.replace(stored, position)


async def _all_of(turns: Sequence[Awaitable[str | None]]) -> Sequence[str | None]:
    """Returns what all turns return; the first error is raised once all have ended."""
    results = await asyncio.gather(*turns, return_exceptions=True)
    ended = [result for result in results if not isinstance(result, BaseException)]
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return ended
