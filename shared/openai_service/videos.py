"""Video jobs over the ``/videos`` API, which several providers speak; OpenAI closed its own.

The SDK's own methods are deprecated together with OpenAI's service, so these are plain requests.
Source: https://platform.openai.com/docs/api-reference/videos
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from shared.errors import NotConfigured, ProviderUnavailable
from shared.openai_service import estimates
from shared.openai_service.client import (
    Clients,
    InputFile,
    ProviderCall,
    idempotency_headers,
    receive,
)
from shared.openai_service.metering import NOTHING
from shared.openai_service.routing import falling_back, route
from shared.openai_service.text import repair_surrogates
from shared.settings import Capability

if TYPE_CHECKING:
    import httpx2
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
"""Words of providers for OpenAI's four statuses; unknown ones count as ``in_progress``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """One request for a video; what is None is not sent.

    Attributes:
        prompt: What to show.
        operation_id: The same for every attempt at this video.
        seconds: Its length.
        size: ``WIDTHxHEIGHT`` in pixels.
        model: Model or deployment; None for the configured one.
        image: The first frame.
    """

    prompt: str
    operation_id: str
    seconds: int | None = None
    size: str | None = None
    model: str | None = None
    image: InputFile | None = None

    def fields(self, model: str) -> dict[str, str]:
        """Returns the fields of the form."""
        fields = {
            "model": model,
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
        status: Its status, in OpenAI's words.
        progress: Its progress in percent; None where the provider does not say.
        url: URL of the finished video; None where it has to be fetched as content.
        error: Why it failed.
        poll_after: Seconds to wait before the next question; None where the provider says nothing.
        charge: Names the record of what was paid for the order, for `Videos.refund`; None where none is
            kept.
        cost_usd: US dollars of the order; None where nobody knows.
        provider: The provider's name in PROVIDERS; None for the one of the other settings.
    """

    id: str
    status: VideoStatus
    progress: int | None
    url: str | None
    error: dict[str, str] | None
    poll_after: float | None
    charge: str | None = None
    cost_usd: float | None = None
    provider: str | None = None


class Videos:
    """The video API of the provider that serves video."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def create(self, request: VideoRequest) -> ProviderVideo:
        """Creates a video job.

        Raises:
            NotConfigured: No provider for video.
            ProviderError: The provider failed or refused.
        """
        estimate = estimates.of_video(request.seconds)
        for call in route(self._clients.endpoints, Capability.VIDEO, request.model):
            send = partial(_create, request, call.model or "")
            with falling_back(call):
                async with self._clients.charge(call, estimate) as charge:
                    ordered = await self._clients.call(call, send, charge, repeatable=False)
                    # Nothing is billed for what fails at once; else the order is what is paid for.
                    charge.report(NOTHING if ordered.status == "failed" else estimate)
                return replace(
                    ordered,
                    charge=charge.reference,
                    cost_usd=charge.cost,
                    provider=call.config.name,
                )
        raise AssertionError("unreachable: the last call returns or raises")

    async def retrieve(self, video_id: str, provider: str | None) -> ProviderVideo:
        """Returns a job's present state.

        Args:
            video_id: The provider's id of it.
            provider: The provider that makes it, as `ProviderVideo` names it.

        Raises:
            NotConfigured: No provider for video.
            ProviderError: The provider failed, refused, or does not know the job.
        """
        call = self._job_call(provider)
        return await self._clients.call(call, partial(_retrieve, video_id), None)

    async def refund(self, principal: str, charge: str | None) -> None:
        """Settles an order at nothing, because its job has failed.

        Args:
            principal: Whose job it is.
            charge: Of the order.
        """
        await self._clients.refund(principal, charge)

    @asynccontextmanager
    async def content(
        self, video_id: str, variant: Variant, provider: str | None
    ) -> AsyncIterator["VideoContent"]:
        """Opens the bytes of a finished video or of its thumbnail.

        Args:
            video_id: The provider's id of the job.
            variant: Which of the two.
            provider: The provider that made it, as `ProviderVideo` names it.

        Raises:
            ProviderError: The provider failed, or has no such thing.
        """
        call = self._job_call(provider)
        answer = await self._clients.call(call, partial(_open, video_id, variant), None)
        if isinstance(answer, str):
            yield VideoContent(answer, None)
            return
        try:
            pieces = answer.aiter_bytes(CHUNK_BYTES)
            yield VideoContent(None, receive(pieces, call))
        finally:
            await answer.aclose()

    def _job_call(self, provider: str | None) -> ProviderCall:
        # Only the provider knows by which model a job is made.
        endpoints = self._clients.endpoints
        if provider is None:
            return ProviderCall(Capability.VIDEO, endpoints.get(Capability.VIDEO).config)
        config = endpoints.named.config(provider)
        if config is None:
            raise NotConfigured(
                f"The provider '{provider}', which makes this video, is not in PROVIDERS any more. "
                "Add it again."
            )
        return ProviderCall(Capability.VIDEO, config)


@dataclass(frozen=True, slots=True)
class VideoContent:
    """Bytes of a video as they come, or the URL to fetch them from.

    Attributes:
        redirect: The URL to which the provider redirects; None where it sends the bytes itself.
        chunks: The bytes; None with a redirect.
    """

    redirect: str | None
    chunks: AsyncIterator[bytes] | None


async def _create(request: VideoRequest, model: str, api: "AsyncOpenAI") -> ProviderVideo:
    import httpx2

    # The SDK makes a form of the body where the header says so, with files or without.
    headers = {
        "Content-Type": "multipart/form-data",
        **idempotency_headers(request.operation_id),
    }
    answer = await api.post(
        "/videos",
        cast_to=httpx2.Response,
        body=request.fields(model),
        files=[("input_reference", request.image.as_part())] if request.image else [],
        options={"headers": headers},
    )
    return _read(answer)


async def _retrieve(video_id: str, api: "AsyncOpenAI") -> ProviderVideo:
    import httpx2

    return _read(await api.get(_path(video_id), cast_to=httpx2.Response))


async def _open(video_id: str, variant: Variant, api: "AsyncOpenAI") -> "httpx2.Response | str":
    from shared.openai_service.sdk import open_stream

    parameters = {} if variant == "video" else {"variant": variant}
    return await open_stream(api, f"{_path(video_id)}/content", parameters)


def _path(video_id: str) -> str:
    return f"/videos/{quote(video_id, safe='')}"


def _read(response: "httpx2.Response") -> ProviderVideo:
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
        "code": repair_surrogates(str(given.get("code") or "failed"))[:100],
        "message": repair_surrogates(str(message))[:MAX_REASON_CHARS],
    }


def _poll_after(headers: "httpx2.Headers") -> float | None:
    # Importing it imports the SDK, which has been loaded by now.
    from shared.openai_service.failures import retry_after

    asked = headers.get("openai-poll-after-ms", "")
    return int(asked) / 1000 if asked.isdecimal() else retry_after(headers)
