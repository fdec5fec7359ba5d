"""Video jobs: ordered from a provider, advanced when polled, and copied into storage once.

A job is a record. Whoever asks for it makes the provider's next step visible, and the first to see it
finished copies the video. Housekeeping asks for jobs that nobody else asks for: it finds them by a work
item that is there from before the order until the job has ended.
"""

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NotRequired

from typing_extensions import TypedDict

from shared.context import CallContext
from shared.errors import Conflict, GatewayError, NotFound, ProviderNotFound
from shared.openai_service import OpenAIService, ProviderVideo, VideoRequest, VideoStatus
from shared.parallel import gather_limited
from shared.storage import (
    Media,
    MediaStore,
    Origin,
    Storage,
    WorkItem,
    WorkItems,
    iso_utc,
    keep_retrying,
    made_at,
    owner_key,
)
from shared.tools.video.copies import VideoCopies
from shared.tools.video.records import (
    VideoError,
    VideoRecord,
    VideoRecords,
    provider_error,
    seconds_from_now,
)

GIVE_UP_AFTER = timedelta(hours=1)
"""Age of a job that its provider does not know. A younger one is kept: it is paid for, and the base URL
may just be mistyped."""

_PARALLEL_READS = 8


class VideoJob(TypedDict):
    """A video job.

    Attributes:
        progress: How far it is, in percent.
        retry_after: Seconds after which asking again may show something new; absent at the end.
    """

    id: str
    status: VideoStatus
    progress: int
    media: NotRequired[Media]
    error: NotRequired[VideoError]
    retry_after: NotRequired[int]


class VideoJobInfo(VideoJob):
    """A video job in a list, as it was last seen.

    Attributes:
        prompt: What was asked for, cut to 1,000 characters.
        model: The model or deployment that makes it.
    """

    created_at: str
    prompt: str | None
    model: str | None


@dataclass(frozen=True, slots=True)
class VideoJobPage:
    """A part of a principal's video jobs, newest first.

    Attributes:
        cursor: Where the next part begins; None at the end.
    """

    jobs: tuple[VideoJobInfo, ...]
    cursor: str | None


class VideoJobs:
    """The video jobs of all principals.

    Args:
        openai: Where videos are made.
        storage: Where the records are.
        media: Where finished videos are.
        copies: Copies finished videos there.
    """

    def __init__(
        self, openai: OpenAIService, storage: Storage, media: MediaStore, copies: VideoCopies
    ) -> None:
        self._openai = openai
        self._storage = storage
        self._records = VideoRecords(storage.state)
        self._work_items = WorkItems(storage.state)
        self._media = media
        self._copies = copies

    async def find(self, job_id: str, context: CallContext) -> VideoJob | None:
        """Returns a job as it was last seen, None where the caller has none of that id."""
        principal = context.principal.name
        try:
            stored = await self._records.get(principal, job_id)
        except NotFound:
            return None
        return await self._present(principal, stored.record)

    async def list(self, principal: str, limit: int, cursor: str | None) -> VideoJobPage:
        """Returns the next of a principal's jobs as they were last seen, newest first.

        Args:
            principal: Whose.
            limit: Most jobs to return.
            cursor: Where to begin, from the last page.

        Raises:
            ValueError: The cursor is not one that a listing gave.
        """
        page = await self._records.list(principal, limit, cursor)
        jobs = await gather_limited(
            _PARALLEL_READS, (self._describe(principal, each.record) for each in page.records)
        )
        return VideoJobPage(tuple(jobs), page.cursor)

    async def create(
        self, job_id: str, request: VideoRequest, origin: Origin, context: CallContext
    ) -> VideoJob:
        """Orders a video and records its job.

        Args:
            job_id: The id that the job gets.
            request: What to order.
            origin: Of the video.
            context: Who orders it.

        Raises:
            GatewayError: The provider refused or failed, or storage did.
        """
        principal = context.principal.name
        item = _work_item(principal, job_id)
        # Before the order, so that nothing that is paid for is without one.
        await asyncio.gather(
            self._media.check_reachable(), self._work_items.add(item, made_at(job_id))
        )
        try:
            ordered = await self._openai.videos.create(request)
        except BaseException:
            # In the background: the caller waits for the reason.
            await self._storage.background.finish(self._forget(principal, job_id), seconds=0)
            raise
        poll_seconds = self._poll_seconds(ordered)
        record = VideoRecord(
            id=job_id,
            provider_id=ordered.id,
            status="failed" if ordered.status == "failed" else "queued",
            progress=ordered.progress or 0,
            poll_seconds=poll_seconds,
            next_poll_at=seconds_from_now(poll_seconds),
            origin=origin.model_copy(update={"cost_usd": ordered.cost_usd}),
            error=provider_error(ordered),
            charge=ordered.charge,
            provider=ordered.provider,
        )
        with keep_retrying():
            record = await self._records.add(principal, record)
        if record.has_ended:
            await self._storage.background.finish(self._forget(principal, job_id), seconds=0)
        return await self._present(principal, record)

    async def advance(self, job_id: str, context: CallContext) -> VideoJob:
        """Returns a job, after asking the provider once where it is time to.

        Raises:
            NotFound: The caller has none of that id.
            GatewayError: The provider did not answer; the job stays as it is.
        """
        return await self._present(context.principal.name, await self._advance(job_id, context))

    async def poll(self, job_id: str, context: CallContext) -> bool:
        """Asks the provider once where it is time to, and returns whether the job has ended.

        Raises:
            NotFound: The principal has none of that id.
            GatewayError: The provider or storage did not answer; the job stays as it is.
        """
        return (await self._advance(job_id, context)).has_ended

    async def _advance(self, job_id: str, context: CallContext) -> VideoRecord:
        principal = context.principal.name
        stored = await self._records.get(principal, job_id)
        record = stored.record
        if record.has_ended or datetime.now(UTC) < record.next_poll_at:
            return record
        # Written before asking: of several who come at once only one asks.
        claim = {"next_poll_at": seconds_from_now(record.poll_seconds)}
        stored, is_ours = await self._records.change(principal, stored, claim)
        record = stored.record
        if not is_ours:
            return record
        await context.report_progress(0, 100, "Asking the provider")
        try:
            seen = await self._openai.videos.retrieve(record.provider_id, record.provider)
        except ProviderNotFound as error:
            if datetime.now(UTC) - made_at(job_id) < GIVE_UP_AFTER:
                raise
            changes = {"status": "failed", "error": {"code": error.code, "message": error.detail}}
        else:
            changes = await self._follow(record, seen, context)
        if changes["status"] == "failed":
            await self._openai.videos.refund(context.principal.name, record.charge)
        if any(getattr(record, name) != value for name, value in changes.items()):
            record = (await self._records.change(principal, stored, changes))[0].record
        if record.has_ended:
            await self._forget(principal, job_id)
        return record

    async def _forget(self, principal: str, job_id: str) -> None:
        # Where that fails, housekeeping sees that the job has ended.
        with suppress(GatewayError):
            await self._work_items.remove(_work_item(principal, job_id), made_at(job_id))

    def _poll_seconds(self, seen: ProviderVideo) -> float:
        timing = self._storage.timing
        asked = timing.default_video_poll if seen.poll_after is None else seen.poll_after
        return min(asked, timing.longest_video_poll)

    async def _follow(
        self, record: VideoRecord, seen: ProviderVideo, context: CallContext
    ) -> dict[str, Any]:
        """Returns what the provider's answer changes in a record; copies a finished video first."""
        poll_seconds = self._poll_seconds(seen)
        pending = {"poll_seconds": poll_seconds, "next_poll_at": seconds_from_now(poll_seconds)}
        if seen.status == "failed":
            return {"status": "failed", "error": provider_error(seen)}
        if seen.status != "completed":
            progress = record.progress if seen.progress is None else seen.progress
            await context.report_progress(progress, 100, f"The provider says: {seen.status}")
            return {"status": seen.status, "progress": progress, **pending}
        await context.report_progress(100, 100, "Copying the video into storage")
        try:
            media_id = await self._copies.copy(context.principal.name, record, seen)
        except Conflict:
            return {"status": "in_progress", "progress": 100, **pending}
        return {"status": "completed", "progress": 100, "media_id": media_id}

    async def _describe(self, principal: str, record: VideoRecord) -> VideoJobInfo:
        return VideoJobInfo(
            **await self._present(principal, record),
            created_at=iso_utc(made_at(record.id)),
            prompt=record.origin.prompt,
            model=record.origin.model,
        )

    async def _present(self, principal: str, record: VideoRecord) -> VideoJob:
        job = VideoJob(id=record.id, status=record.status, progress=record.progress)
        if record.error is not None:
            job["error"] = record.error
        if not record.has_ended:
            wait = (record.next_poll_at - datetime.now(UTC)).total_seconds()
            job["retry_after"] = max(1, math.ceil(wait))
        if record.media_id is not None:
            # Its owner may have deleted it since.
            with suppress(NotFound):
                found = await self._media.find(principal, record.media_id)
                job["media"] = await self._media.present(found)
        return job


def _work_item(principal: str, job_id: str) -> WorkItem:
    return WorkItem(kind="video", owner=owner_key(principal), id=job_id, principal=principal)
