"""What the stand-in answers where others make videos: jobs that are done after a few looks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import time
from typing import Annotated, Any
from uuid import uuid4

from pydantic import AfterValidator, BaseModel, Field
from starlette.responses import Response

from local.stand_in.exchange import Exchange, Refusal, document, file, stream
from local.stand_in.images import parse_size
from local.stand_in.samples import sample
from local.stand_in.script import Rule

MAX_SECONDS = 60
POLL_AFTER_MS = 100
"""How long it asks callers to wait before they look again."""

_STEPS = [("queued", 0), ("in_progress", 50), ("completed", 100)]
_PIECE_BYTES = 64 * 1024
_WEBM_HEADER_BYTES = 40


def _check_size(size: str) -> str:
    parse_size(size)
    return size


class VideoParameters(BaseModel):
    """The parameters of video models that the stand-in checks; all jobs get the same video."""

    model: str
    prompt: str = Field(min_length=1)
    seconds: int = Field(4, ge=1, le=MAX_SECONDS)
    size: Annotated[str, AfterValidator(_check_size)] = "320x180"


@dataclass
class Job:
    """A video and how far it is.

    Attributes:
        parameters: What was asked for.
        id: Its name in the API.
        created_at: When it was asked for, in seconds since 1970.
        step: Its place in the way from queued to completed.
        error: Why it failed, once it has.
        rule: What rules have said of it so far.
    """

    parameters: VideoParameters
    id: str = field(default_factory=lambda: f"video_{uuid4().hex}")
    created_at: int = field(default_factory=lambda: int(time()))
    step: int = 0
    error: str | None = None
    rule: Rule = field(default_factory=Rule)

    def remember(self, rule: Rule) -> None:
        """Keeps what a rule says of videos."""
        told = {"as_url", "bytes", "video_error", "no_thumbnail"} & rule.model_fields_set
        self.rule = self.rule.model_copy(update={name: getattr(rule, name) for name in told})

    def advance(self) -> None:
        """Goes one step on, or fails."""
        if self.rule.video_error:
            self.error = self.rule.video_error
        elif self.error is None:
            self.step = min(self.step + 1, len(_STEPS) - 1)

    @property
    def is_completed(self) -> bool:
        """Whether the video is there."""
        return self.error is None and self.step == len(_STEPS) - 1

    def body(self) -> dict[str, Any]:
        """Returns it as the API shows it."""
        status, progress = _STEPS[self.step]
        body: dict[str, Any] = {
            "id": self.id,
            "object": "video",
            "created_at": self.created_at,
            "model": self.parameters.model,
            "prompt": self.parameters.prompt,
            "seconds": str(self.parameters.seconds),
            "size": self.parameters.size,
            "status": status if self.error is None else "failed",
            "progress": progress,
            "error": None,
        }
        if self.error is not None:
            body["error"] = {"code": "stand_in_error", "message": self.error}
        if self.is_completed and self.rule.as_url is not None:
            body["url"] = self.rule.as_url
        return body


class Videos:
    """The routes for videos, and the jobs."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._jobs_of_keys: dict[str, Job] = {}

    def clear(self) -> None:
        """Forgets all jobs."""
        self._jobs.clear()
        self._jobs_of_keys.clear()

    async def create(self, exchange: Exchange) -> Response:
        """Answers `POST /v1/videos`; with an ``Idempotency-Key`` seen before, with the same job."""
        key = exchange.request.headers.get("idempotency-key")
        job = self._jobs_of_keys.get(key) if key else None
        if job is None:
            exchange.files("input_reference")
            job = Job(exchange.parse(VideoParameters))
            self._jobs[job.id] = job
            if key:
                self._jobs_of_keys[key] = job
        job.remember(exchange.rule)
        return _shown(job, exchange.rule)

    async def retrieve(self, exchange: Exchange) -> Response:
        """Answers `GET /v1/videos/{id}`, which takes the job a step further."""
        job = self._find(exchange)
        job.remember(exchange.rule)
        if not exchange.rule.hold_video:
            job.advance()
        return _shown(job, exchange.rule)

    async def content(self, exchange: Exchange) -> Response:
        """Answers `GET /v1/videos/{id}/content`, and the same with ``?variant=thumbnail``."""
        job = self._find(exchange)
        job.remember(exchange.rule)
        if not job.is_completed:
            message = f"Video is not ready yet, use GET /v1/videos/{job.id} to check status."
            raise Refusal(message, status=404, code="video_not_ready")
        if job.rule.as_url is not None:
            raise Refusal("The video is at its url only.", status=404, code="not_found")
        variant = exchange.request.query_params.get("variant", "video")
        if variant == "thumbnail" and not job.rule.no_thumbnail:
            return file(sample("still.webp"), "image/webp", exchange.rule)
        if variant != "video":
            raise Refusal(f"Variant '{variant}' not found.", status=404, code="not_found")
        if job.rule.bytes is not None:
            count = job.rule.bytes // _PIECE_BYTES + 1
            return stream(_padding(job.rule.bytes), count, "video/webm", exchange.rule)
        return file(sample("video.webm"), "video/webm", exchange.rule)

    def _find(self, exchange: Exchange) -> Job:
        name = exchange.request.path_params["id"]
        if name not in self._jobs:
            message = f"Video with id '{name}' not found."
            raise Refusal(message, status=404, code="not_found", param="id")
        return self._jobs[name]


def _shown(job: Job, rule: Rule) -> Response:
    headers = {"openai-poll-after-ms": str(POLL_AFTER_MS), **rule.headers}
    return document(job.body(), rule, headers)


def _padding(size: int) -> Iterator[bytes]:
    """Yields so many bytes that begin as a WebM file does."""
    head = sample("video.webm")[:_WEBM_HEADER_BYTES][:size]
    yield head
    left = size - len(head)
    while left > 0:
        piece = bytes(min(left, _PIECE_BYTES))
        left -= len(piece)
        yield piece
