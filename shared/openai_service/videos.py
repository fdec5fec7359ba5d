"""Video jobs over the ``/videos`` shape, which several providers speak; OpenAI itself closed its own.

The SDK's own methods are deprecated together with OpenAI's service, so these are plain requests.
Source: https://platform.openai.com/docs/api-reference/videos
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

import httpx2

from shared.deadline import Deadline
from shared.errors import ProviderUnavailable
from shared.openai_service.calls import ProviderCall
from shared.openai_service.characters import whole_characters
from shared.openai_service.clients import Clients
from shared.openai_service.endpoints import Endpoint
from shared.openai_service.files import InputFile, idempotency_headers, under_deadline
from shared.settings import Capability

if TYPE_CHECKING:
    from openai import AsyncOpenAI

VideoStatus = Literal["queued", "in_progress", "completed", "failed"]
Variant = Literal["video", "thumbnail"]

CHUNK_BYTES = 256 * 1024
MAX_REASON_CHARS = 2000

_STATUSES: dict[str, VideoStatus] = {
    "queued": "queued",
    "pending": "queued",
    "in_progress": "in_progress",
    "processing": "in_progress",
    "running": "in_progress",
    "completed": "completed",
    "succeeded": "completed",
    "failed": "failed",
    "cancelled": "failed",
    "canceled": "failed",
    "expired": "failed",
}
"""OpenAI's four, and what compatible providers say for them; whatever else they say, they are at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """One request for a video; what is None is not sent.

    Attributes:
        prompt: What to show.
        operation_id: The same for every attempt at this video.
        seconds: How long.
        size: ``WIDTHxHEIGHT`` in pixels.
        model: Model or deployment; None for the configured one.
        image: The picture to begin with.
    """

    prompt: str
    operation_id: str
    seconds: int | None = None
    size: str | None = None
    model: str | None = None
    image: InputFile | None = None

    def fields(self, target: str) -> dict[str, str]:
        """Returns the fields of the form."""
        fields = {
            "model": self.model or target,
            "prompt": self.prompt,
            "seconds": None if self.seconds is None else str(self.seconds),
            "size": self.size,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ProviderVideo:
    """A job as its provider describes it.

    Attributes:
        id: The provider's id.
        status: How far it is.
        progress: The same in percent; None where the provider does not say.
        url: Where the finished video is, where the provider says so; else it is asked for the content.
        error: Why it failed.
        poll_after: Seconds after which the provider wants to be asked again; None where it says nothing.
    """

    id: str
    status: VideoStatus
    progress: int | None
    url: str | None
    error: dict[str, str] | None
    poll_after: float | None


class Videos:
    """The video API of whoever serves it."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def check_configured(self) -> str:
        """Returns the model or deployment that makes videos.

        Raises:
            NotConfigured: No provider for video.
        """
        return self._clients.endpoint(Capability.VIDEO).target

    async def create(self, request: VideoRequest, deadline: Deadline) -> ProviderVideo:
        """Orders a video.

        Raises:
            NotConfigured: No provider for video.
            DeadlineExceeded: No answer in time.
            ProviderError: The provider failed or refused.
        """
        endpoint = self._clients.endpoint(Capability.VIDEO)
        files = [("input_reference", request.image.as_part())] if request.image else []
        # The SDK makes a form of the body where the header says so, with files or without.
        headers = {"Content-Type": "multipart/form-data"} | idempotency_headers(
            request.operation_id
        )

        async def ask(api: "AsyncOpenAI") -> ProviderVideo:
            answer = await api.post(
                "/videos",
                cast_to=httpx2.Response,
                body=request.fields(endpoint.target),
                files=files,
                options={"headers": headers},
            )
            return _read(answer)

        call = ProviderCall.with_model(Capability.VIDEO, endpoint, request.model)
        return await self._clients.call(call, ask, deadline, repeatable=False)

    async def retrieve(self, video_id: str, deadline: Deadline) -> ProviderVideo:
        """Asks once how far a job is.

        Raises:
            NotConfigured: No provider for video.
            DeadlineExceeded: No answer in time.
            ProviderError: The provider failed, refused, or does not know the job.
        """
        endpoint = self._clients.endpoint(Capability.VIDEO)

        async def ask(api: "AsyncOpenAI") -> ProviderVideo:
            path = f"/videos/{quote(video_id, safe='')}"
            return _read(await api.get(path, cast_to=httpx2.Response))

        return await self._clients.call(_call(endpoint), ask, deadline)

    @asynccontextmanager
    async def content(
        self, video_id: str, variant: Variant, deadline: Deadline
    ) -> AsyncIterator["VideoContent"]:
        """Opens the bytes of a finished video or of its still picture.

        Raises:
            DeadlineExceeded: No answer in time.
            ProviderError: The provider failed, or has no such thing.
        """
        call = _call(self._clients.endpoint(Capability.VIDEO))
        path = f"/videos/{quote(video_id, safe='')}/content"
        parameters = {} if variant == "video" else {"variant": variant}

        async def ask(api: "AsyncOpenAI") -> httpx2.Response | str:
            from shared.openai_service.sdk import open_stream

            return await open_stream(api, path, parameters)

        answer = await self._clients.call(call, ask, deadline)
        if isinstance(answer, str):
            yield VideoContent(answer, None)
            return
        try:
            pieces = answer.aiter_bytes(CHUNK_BYTES)
            yield VideoContent(None, under_deadline(pieces, call, deadline))
        finally:
            await answer.aclose()


@dataclass(frozen=True, slots=True)
class VideoContent:
    """Bytes of a video while they come, or where to fetch them.

    Attributes:
        redirect: The URL to which the provider sends us for them; None where they come from itself.
        chunks: The bytes; None where they are elsewhere.
    """

    redirect: str | None
    chunks: AsyncIterator[bytes] | None


def _call(endpoint: Endpoint) -> ProviderCall:
    # Of a job only its provider knows by which model it is made.
    return ProviderCall(Capability.VIDEO, endpoint.connection)


def _read(response: httpx2.Response) -> ProviderVideo:
    document = response.json()
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        raise ProviderUnavailable(
            "The provider's answer is not a video job. Check its base URL, or try again."
        )
    status = _STATUSES.get(str(document.get("status")), "in_progress")
    progress = document.get("progress")
    url = document.get("url")
    return ProviderVideo(
        id=document["id"],
        status=status,
        progress=min(100, max(0, int(progress))) if isinstance(progress, int | float) else None,
        url=url if isinstance(url, str) else None,
        error=_read_error(document.get("error")) if status == "failed" else None,
        poll_after=_poll_after(response.headers),
    )


def _read_error(error: object) -> dict[str, str]:
    given = error if isinstance(error, dict) else {"message": error}
    message = given.get("message") or "The provider gives no reason."
    return {
        "code": whole_characters(str(given.get("code") or "failed"))[:100],
        "message": whole_characters(str(message))[:MAX_REASON_CHARS],
    }


def _poll_after(headers: httpx2.Headers) -> float | None:
    # Imported late, because the module imports the SDK; whoever calls this has it loaded.
    from shared.openai_service.sdk import retry_after

    asked = headers.get("openai-poll-after-ms", "")
    return int(asked) / 1000 if asked.isdecimal() else retry_after(headers)
