"""Video jobs: ordered from a provider, advanced when somebody asks, and copied into storage once.

A job is a record. Whoever asks for it makes the provider's next step visible, and the first to see it
finished copies the video. Housekeeping asks for jobs that nobody else asks for: it finds them by a work
item that is there from before the order until the job has ended.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NotRequired

from pydantic import ConfigDict
from typing_extensions import TypedDict

from shared.context import CallContext
from shared.errors import (
    Conflict,
    GatewayError,
    NotFound,
    ProviderError,
    ProviderNotFound,
    ProviderUnavailable,
)
from shared.openai_service import OpenAIService, ProviderVideo, VideoRequest, VideoStatus
from shared.outbound import Downloads
from shared.storage import (
    IdempotencyStore,
    Media,
    MediaFormat,
    MediaStore,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    Operation,
    Record,
    Records,
    Storage,
    Versioned,
    WorkItem,
    WorkItems,
    formats,
    is_id,
    keep_retrying,
    made_at,
    owner_key,
)
from shared.tools.streams import peek

MAX_VIDEO_BYTES = 1024 * 1024 * 1024
MAX_THUMBNAIL_BYTES = 16 * 1024 * 1024
GIVE_UP_AFTER = timedelta(hours=1)
"""Age of a job that its provider does not know. A younger one is kept: it is paid for, and the base URL
may just be mistyped."""


class VideoError(TypedDict):
    """Why a job failed, as the provider says."""

    code: str
    message: str


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


class _Record(Record):
    model_config = ConfigDict(frozen=True)

    id: str
    provider_id: str
    status: VideoStatus
    progress: int
    poll_seconds: float
    next_poll_at: datetime
    media_id: str | None = None
    error: VideoError | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in ("completed", "failed")


class VideoJobs:
    """The video jobs of all principals.

    Args:
        openai: Where videos are made.
        storage: Where the records are.
        media: Where finished videos go.
        idempotency: Sees to it that each is copied once.
        downloads: Fetches videos whose provider names a URL for them.
    """

    def __init__(
        self,
        openai: OpenAIService,
        storage: Storage,
        media: MediaStore,
        idempotency: IdempotencyStore,
        downloads: Downloads,
    ) -> None:
        self._openai = openai
        self._storage = storage
        self._records = Records(storage.state, _Record)
        self._media = media
        self._idempotency = idempotency
        self._downloads = downloads
        self._work_items = WorkItems(storage.state)

    async def find(self, job_id: str, context: CallContext) -> VideoJob | None:
        """Returns a job as it was last seen, None where the caller has none of that id."""
        try:
            stored = await self._read(job_id, context)
        except NotFound:
            return None
        return await self._present(stored.record, context)

    async def create(self, job_id: str, request: VideoRequest, context: CallContext) -> VideoJob:
        """Orders a video and records its job.

        Raises:
            GatewayError: The provider refused or failed, or storage did.
        """
        item = _work_item(job_id, context)
        # Before the order, so that nothing that is paid for is without one.
        await asyncio.gather(
            self._media.check_reachable(), self._work_items.add(item, made_at(job_id))
        )
        try:
            ordered = await self._openai.videos.create(request)
        except BaseException:
            # In the background: the caller waits for the reason.
            await self._storage.background.finish(self._forget(job_id, context), seconds=0)
            raise
        poll_seconds = self._poll_seconds(ordered)
        record = _Record(
            id=job_id,
            provider_id=ordered.id,
            status="failed" if ordered.status == "failed" else "queued",
            progress=ordered.progress or 0,
            poll_seconds=poll_seconds,
            next_poll_at=_in(poll_seconds),
            error=_error(ordered),
        )
        try:
            with keep_retrying():
                await self._records.create(_name(job_id, context), record)
        except ObjectExists:
            record = (await self._read(job_id, context)).record
        if record.has_ended:
            await self._storage.background.finish(self._forget(job_id, context), seconds=0)
        return await self._present(record, context)

    async def advance(self, job_id: str, context: CallContext) -> VideoJob:
        """Returns a job, after asking the provider once where it is time to.

        Raises:
            NotFound: The caller has none of that id.
            GatewayError: The provider did not answer; the job stays as it is.
        """
        return await self._present(await self._advance(job_id, context), context)

    async def poll(self, job_id: str, context: CallContext) -> bool:
        """Asks the provider once where it is time to, and returns whether the job has ended.

        Raises:
            NotFound: The principal has none of that id.
            GatewayError: The provider or storage did not answer; the job stays as it is.
        """
        return (await self._advance(job_id, context)).has_ended

    async def _advance(self, job_id: str, context: CallContext) -> _Record:
        stored = await self._read(job_id, context)
        record = stored.record
        if record.has_ended or datetime.now(UTC) < record.next_poll_at:
            return record
        # Written before asking: of several who come at once only one asks.
        claim = {"next_poll_at": _in(record.poll_seconds)}
        stored, is_ours = await self._replace(stored, claim, context)
        record = stored.record
        if not is_ours:
            return record
        await context.report_progress(0, 100, "Asking the provider")
        try:
            seen = await self._openai.videos.retrieve(record.provider_id)
        except ProviderNotFound as error:
            if datetime.now(UTC) - made_at(job_id) < GIVE_UP_AFTER:
                raise
            changes = {"status": "failed", "error": {"code": error.code, "message": error.detail}}
        else:
            changes = await self._follow(record, seen, context)
        if any(getattr(record, name) != value for name, value in changes.items()):
            record = (await self._replace(stored, changes, context))[0].record
        if record.has_ended:
            await self._forget(job_id, context)
        return record

    async def _forget(self, job_id: str, context: CallContext) -> None:
        # Where that fails, housekeeping sees that the job has ended.
        with suppress(GatewayError):
            await self._work_items.remove(_work_item(job_id, context), made_at(job_id))

    def _poll_seconds(self, seen: ProviderVideo) -> float:
        timing = self._storage.timing
        asked = timing.default_video_poll if seen.poll_after is None else seen.poll_after
        return min(asked, timing.longest_video_poll)

    async def _follow(
        self, record: _Record, seen: ProviderVideo, context: CallContext
    ) -> dict[str, Any]:
        """Returns what the provider's answer changes in a record; copies a finished video first."""
        poll_seconds = self._poll_seconds(seen)
        pending = {"poll_seconds": poll_seconds, "next_poll_at": _in(poll_seconds)}
        if seen.status == "failed":
            return {"status": "failed", "error": _error(seen)}
        if seen.status != "completed":
            progress = record.progress if seen.progress is None else seen.progress
            await context.report_progress(progress, 100, f"The provider says: {seen.status}")
            return {"status": seen.status, "progress": progress, **pending}
        await context.report_progress(100, 100, "Copying the video into storage")
        try:
            media_id = await self._copy_once(record, seen, context)
        except Conflict:
            return {"status": "in_progress", "progress": 100, **pending}
        return {"status": "completed", "progress": 100, "media_id": media_id}

    async def _copy_once(self, record: _Record, seen: ProviderVideo, context: CallContext) -> str:
        owner = context.principal.name
        async with self._idempotency.claim(
            owner, f"video {record.id}", b"", purpose="copy"
        ) as claim:
            if not claim.is_done:
                claim.result = await self._copy(claim.operation, seen, context)
        return str(claim.result)

    async def _copy(self, operation: Operation, seen: ProviderVideo, context: CallContext) -> str:
        owner = context.principal.name
        media_id = operation.id("video")
        stored = None
        if operation.is_repeat:
            stored = await self._media.stored_format(media_id, [formats.MP4, formats.WEBM])
        thumbnail = await self._thumbnail(seen)
        if stored is not None:
            with keep_retrying():
                await self._media.save(owner, media_id, None, stored, thumbnail)
            return media_id
        async with self._open(seen) as chunks:
            head, whole = await peek(chunks, MAX_VIDEO_BYTES, _too_large)
            with keep_retrying():
                await self._media.save(owner, media_id, whole, _check(head), thumbnail)
        return media_id

    @asynccontextmanager
    async def _open(self, seen: ProviderVideo) -> AsyncIterator[AsyncIterator[bytes]]:
        url = seen.url
        if url is None:
            async with self._openai.videos.content(seen.id, "video") as content:
                if content.chunks is not None:
                    yield content.chunks
                    return
                url = content.redirect or ""
        async with self._downloads.open(url, MAX_VIDEO_BYTES) as download:
            yield download.chunks

    async def _thumbnail(self, seen: ProviderVideo) -> tuple[bytes, MediaFormat] | None:
        try:
            async with self._openai.videos.content(seen.id, "thumbnail") as content:
                if content.chunks is None:
                    return None
                _, chunks = await peek(content.chunks, MAX_THUMBNAIL_BYTES, _too_large)
                data = b"".join([chunk async for chunk in chunks])
        except ProviderError:
            # Not every provider has one, and the video is worth more than its picture.
            return None
        found = formats.sniff(data[: formats.HEAD_BYTES])
        is_picture = found is not None and found.kind == "image" and found.extension != "svg"
        return (data, found) if found and is_picture else None

    async def _present(self, record: _Record, context: CallContext) -> VideoJob:
        job = VideoJob(id=record.id, status=record.status, progress=record.progress)
        if record.error is not None:
            job["error"] = record.error
        if not record.has_ended:
            wait = (record.next_poll_at - datetime.now(UTC)).total_seconds()
            job["retry_after"] = max(1, math.ceil(wait))
        if record.media_id is not None:
            try:
                found = await self._media.find(context.principal.name, record.media_id)
                job["media"] = await self._media.present(found)
            except NotFound:
                # Deleted by its owner since.
                pass
        return job

    async def _read(self, job_id: str, context: CallContext) -> Versioned[_Record]:
        unknown = NotFound(f"There is no video job '{job_id}'.")
        if not is_id(job_id):
            raise unknown
        try:
            return await self._records.get(_name(job_id, context))
        except ObjectMissing as error:
            raise unknown from error

    async def _replace(
        self, stored: Versioned[_Record], changes: dict[str, Any], context: CallContext
    ) -> tuple[Versioned[_Record], bool]:
        """Returns the record as it then is, and whether it is we who changed it."""
        changed = _Record.model_validate({**stored.record.model_dump(), **changes})
        try:
            return await self._records.replace(stored, changed), True
        except ObjectChanged:
            return await self._read(stored.record.id, context), False


def _work_item(job_id: str, context: CallContext) -> WorkItem:
    name = context.principal.name
    return WorkItem(kind="video", owner=owner_key(name), id=job_id, principal=name)


def _name(job_id: str, context: CallContext) -> str:
    return f"jobs/{owner_key(context.principal.name)}/{job_id}.json"


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def _error(seen: ProviderVideo) -> VideoError | None:
    if seen.error is None:
        return None
    return {"code": seen.error["code"], "message": seen.error["message"]}


def _too_large() -> ProviderUnavailable:
    return ProviderUnavailable("The provider's file is larger than this app takes.")


def _check(head: bytes) -> MediaFormat:
    found = formats.sniff(head)
    if found is None or found.kind != "video":
        raise ProviderUnavailable("The provider's answer is not a video in any known format.")
    return found
