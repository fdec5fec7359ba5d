"""Copies of finished videos from the provider into storage, each made once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.errors import ProviderError, ProviderUnavailable
from shared.openai_service import OpenAIService, ProviderVideo
from shared.outbound import Downloads
from shared.storage import (
    IdempotencyStore,
    MediaFormat,
    MediaStore,
    Operation,
    formats,
    keep_retrying,
)
from shared.tools.streams import peek
from shared.tools.video.records import VideoRecord

MAX_VIDEO_BYTES = 1024 * 1024 * 1024
MAX_THUMBNAIL_BYTES = 16 * 1024 * 1024


class VideoCopies:
    """Copies finished videos, each once, however many instances see it finished.

    Args:
        openai: Where videos are made.
        media: Where they go.
        idempotency: Sees to it that each is copied once.
        downloads: Fetches videos whose provider names a URL for them.
    """

    def __init__(
        self,
        openai: OpenAIService,
        media: MediaStore,
        idempotency: IdempotencyStore,
        downloads: Downloads,
    ) -> None:
        self._openai = openai
        self._media = media
        self._idempotency = idempotency
        self._downloads = downloads

    async def copy(self, principal: str, record: VideoRecord, seen: ProviderVideo) -> str:
        """Copies a video unless it is copied, and returns its media id.

        Args:
            principal: Whose it is.
            record: Its job.
            seen: The job as the provider sees it.

        Raises:
            Conflict: Another request copies it.
            GatewayError: The provider or storage failed.
        """
        key = f"video {record.id}"
        async with self._idempotency.claim(principal, key, b"", purpose="copy") as claim:
            if not claim.is_done:
                claim.result = await self._copy(principal, claim.operation, record, seen)
        return str(claim.result)

    async def _copy(
        self, principal: str, operation: Operation, record: VideoRecord, seen: ProviderVideo
    ) -> str:
        media_id = operation.id("video")
        stored = None
        if operation.is_repeat:
            stored = await self._media.stored_format(media_id, [formats.MP4, formats.WEBM])
        still = await self._thumbnail(seen.id, record.provider)
        if stored is not None:
            with keep_retrying():
                await self._media.save(principal, media_id, None, stored, record.origin, still)
            return media_id
        async with self._open(seen, record.provider) as chunks:
            head, whole = await peek(chunks, MAX_VIDEO_BYTES, _too_large)
            found = _check(head)
            with keep_retrying():
                await self._media.save(principal, media_id, whole, found, record.origin, still)
        return media_id

    @asynccontextmanager
    async def _open(
        self, seen: ProviderVideo, provider: str | None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        url = seen.url
        if url is None:
            async with self._openai.videos.content(seen.id, "video", provider) as content:
                if content.chunks is not None:
                    yield content.chunks
                    return
                url = content.redirect or ""
        async with self._downloads.open(url, MAX_VIDEO_BYTES) as download:
            yield download.chunks

    async def _thumbnail(
        self, video_id: str, provider: str | None
    ) -> tuple[bytes, MediaFormat] | None:
        try:
            async with self._openai.videos.content(video_id, "thumbnail", provider) as content:
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


def _too_large() -> ProviderUnavailable:
    return ProviderUnavailable("The provider's file is larger than this app takes.")


def _check(head: bytes) -> MediaFormat:
    found = formats.sniff(head)
    if found is None or found.kind != "video":
        raise ProviderUnavailable("The provider's answer is not a video in any known format.")
    return found
