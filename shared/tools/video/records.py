"""Records of video jobs: the order, its provider and its progress."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ConfigDict
from typing_extensions import TypedDict

from shared.errors import NotFound
from shared.openai_service import ProviderVideo, VideoStatus
from shared.storage import (
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    ObjectStore,
    Origin,
    Record,
    RecordPage,
    Records,
    Versioned,
    is_id,
    owner_key,
)


class VideoError(TypedDict):
    """Why a job failed, as the provider says."""

    code: str
    message: str


class VideoRecord(Record):
    """What is stored of a video job.

    Attributes:
        provider_id: The provider's id of it.
        progress: How far it is, in percent.
        poll_seconds: Pause between two questions to the provider.
        next_poll_at: When the provider may be asked again.
        origin: Of the video: the prompt, and the model that makes it.
        media_id: The video, once it is copied.
        error: Why it failed.
        charge: Names the ledger's record of the order, to settle it at nothing if the job fails.
        provider: The name in PROVIDERS of who makes it; None for the provider of the other settings.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    provider_id: str
    status: VideoStatus
    progress: int
    poll_seconds: float
    next_poll_at: datetime
    origin: Origin
    media_id: str | None = None
    error: VideoError | None = None
    charge: str | None = None
    provider: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ("completed", "failed")


class VideoRecords:
    """The video jobs of all principals.

    Args:
        state: The container that they are in.
    """

    def __init__(self, state: ObjectStore) -> None:
        self._records = Records(state, VideoRecord)

    async def get(self, principal: str, job_id: str) -> Versioned[VideoRecord]:
        """Returns a job.

        Raises:
            NotFound: The principal has none of that id.
        """
        unknown = NotFound(f"There is no video job '{job_id}'.")
        if not is_id(job_id):
            raise unknown
        try:
            return await self._records.get(_name(principal, job_id))
        except ObjectMissing as error:
            raise unknown from error

    async def add(self, principal: str, record: VideoRecord) -> VideoRecord:
        """Stores a new job, and returns it, or the one that an earlier run has stored."""
        try:
            await self._records.create(_name(principal, record.id), record)
        except ObjectExists:
            return (await self.get(principal, record.id)).record
        return record

    async def change(
        self, principal: str, stored: Versioned[VideoRecord], changes: dict[str, Any]
    ) -> tuple[Versioned[VideoRecord], bool]:
        """Returns the job as it then is, and whether it is we who changed it."""
        changed = VideoRecord.model_validate({**stored.record.model_dump(), **changes})
        try:
            return await self._records.replace(stored, changed), True
        except ObjectChanged:
            return await self.get(principal, stored.record.id), False

    async def list(self, principal: str, limit: int, cursor: str | None) -> RecordPage[VideoRecord]:
        """Returns the next of a principal's jobs, newest first.

        Raises:
            ValueError: The cursor is not one that a listing gave.
        """
        return await self._records.list(f"jobs/{owner_key(principal)}/", limit, cursor)


def provider_error(seen: ProviderVideo) -> VideoError | None:
    """Returns why the provider says that a job failed."""
    if seen.error is None:
        return None
    return {"code": seen.error["code"], "message": seen.error["message"]}


def seconds_from_now(seconds: float) -> datetime:
    """Returns the moment after so many seconds."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def _name(principal: str, job_id: str) -> str:
    return f"jobs/{owner_key(principal)}/{job_id}.json"
