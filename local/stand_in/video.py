"""What the stand-in answers where others make videos: jobs that are done after a few looks."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from time import time
from typing import Annotated, Any
from uuid import uuid4

from PIL import ImageDraw
from pydantic import AfterValidator, BaseModel, Field
from starlette.responses import Response

from local.stand_in import webm
from local.stand_in.call import Call, Refusal
from local.stand_in.drawing import Card
from local.stand_in.faults import Fault
from local.stand_in.images import encode, parse_size
from local.stand_in.reception import document, file, stream

FRAMES_PER_SECOND = 5
MAX_SECONDS = 60
POLL_AFTER_MS = 100
"""How long it asks callers to wait before they look again."""

_FRAME_QUALITY = 60
_STEPS = [("queued", 0), ("in_progress", 50), ("completed", 100)]


def _check_size(size: str) -> str:
    parse_size(size)
    return size


class VideoParameters(BaseModel):
    """The parameters of video models that the stand-in heeds."""

    model: str
    prompt: str = Field(min_length=1)
    seconds: int = Field(4, ge=1, le=MAX_SECONDS)
    size: Annotated[str, AfterValidator(_check_size)] = "320x180"


@dataclass
class Job:
    """A video and how far it is.

    Attributes:
        parameters: What was asked for.
        note: What else came with it.
        id: Its name in the API.
        step: Its place in the way from queued to completed.
        created_at: When it was asked for, in seconds since 1970.
        error: Why it failed, once it has.
        url: Where it is, if it is not here.
        coming_error: Why it will fail when it is next looked at.
        bytes: How long its content is to be, if it is not a real one.
        no_thumbnail: Whether it has none.
    """

    parameters: VideoParameters
    note: str
    id: str = field(default_factory=lambda: f"video_{uuid4().hex}")
    created_at: int = field(default_factory=lambda: int(time()))
    step: int = 0
    error: str | None = None
    url: str | None = None
    coming_error: str | None = None
    bytes: int | None = None
    no_thumbnail: bool = False

    def remember(self, fault: Fault) -> None:
        """Keeps what a fault says of videos."""
        self.url = self.url if fault.as_url is None else fault.as_url
        self.bytes = self.bytes if fault.bytes is None else fault.bytes
        self.coming_error = fault.video_error or self.coming_error
        self.no_thumbnail = self.no_thumbnail or fault.no_thumbnail

    def advance(self) -> None:
        """Goes one step on, or fails."""
        if self.coming_error:
            self.error = self.coming_error
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
        if self.is_completed and self.url is not None:
            body["url"] = self.url
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

    async def create(self, call: Call) -> Response:
        """Answers `POST /v1/videos`; with an ``Idempotency-Key`` seen before, with the same job."""
        key = call.request.headers.get("idempotency-key")
        job = self._jobs_of_keys.get(key) if key else None
        if job is None:
            references = call.uploads("input_reference")
            note = "with a reference" if references else ""
            job = Job(call.parse(VideoParameters), note)
            self._jobs[job.id] = job
            if key:
                self._jobs_of_keys[key] = job
        job.remember(call.fault)
        return _shown(job, call.fault)

    async def retrieve(self, call: Call) -> Response:
        """Answers `GET /v1/videos/{id}`, which takes the job a step further."""
        job = self._job(call)
        job.remember(call.fault)
        if not call.fault.hold_video:
            job.advance()
        return _shown(job, call.fault)

    async def content(self, call: Call) -> Response:
        """Answers `GET /v1/videos/{id}/content`, and the same with ``?variant=thumbnail``."""
        job = self._job(call)
        job.remember(call.fault)
        if not job.is_completed:
            message = f"Video is not ready yet, use GET /v1/videos/{job.id} to check status."
            raise Refusal(message, status=404, code="video_not_ready")
        if job.url is not None:
            raise Refusal("The video is at its url only.", status=404, code="not_found")
        variant = call.request.query_params.get("variant", "video")
        if variant == "thumbnail" and not job.no_thumbnail:
            return file(await asyncio.to_thread(_thumbnail, job), "image/webp", call.fault)
        if variant != "video":
            raise Refusal(f"Variant '{variant}' not found.", status=404, code="not_found")
        if job.bytes is not None:
            count = job.bytes // webm.PIECE_BYTES + 1
            return stream(webm.padding(job.bytes), count, "video/webm", call.fault)
        parameters = job.parameters
        size = parse_size(parameters.size)
        film = await asyncio.to_thread(_film, size, parameters.prompt, job.note, parameters.seconds)
        return file(film, "video/webm", call.fault)

    def _job(self, call: Call) -> Job:
        name = call.request.path_params["id"]
        if name not in self._jobs:
            message = f"Video with id '{name}' not found."
            raise Refusal(message, status=404, code="not_found", param="id")
        return self._jobs[name]


def _shown(job: Job, fault: Fault) -> Response:
    return document(job.body(), fault, {"openai-poll-after-ms": str(POLL_AFTER_MS)})


def _thumbnail(job: Job) -> bytes:
    return next(_frames(parse_size(job.parameters.size), job.parameters.prompt, job.note, 1))


@lru_cache(maxsize=4)
def _film(size: tuple[int, int], prompt: str, note: str, seconds: int) -> bytes:
    frames = list(_frames(size, prompt, note, seconds * FRAMES_PER_SECOND))
    return webm.video(frames, size, 1000 // FRAMES_PER_SECOND)


def _frames(size: tuple[int, int], prompt: str, note: str, count: int) -> Iterator[bytes]:
    """Yields pictures in which a ball goes from left to right."""
    width, height = size
    card = Card(size, prompt, note, seed=prompt).draw().convert("RGB")
    radius = max(2, min(size) // 16)
    y = height - 2 * radius
    for number in range(count):
        x = radius + (width - 2 * radius) * number // count
        image = card.copy()
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(image).ellipse(box, fill="orange")
        yield encode(image, "webp", _FRAME_QUALITY)
