"""`POST /v1/audio/speech`: the clip is streamed to the caller and stored at the same time.

Source: https://platform.openai.com/docs/api-reference/audio/createSpeech
"""

import binascii
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import ClassVar

from shared.errors import ProviderUnavailable, StorageUnavailable
from shared.openai_service.event_streams import data_of, split_events
from shared.outbound import EVENT_STREAM
from shared.routes.v1.bodies import JSON
from shared.routes.v1.forwarding import OpenAnswer
from shared.routes.v1.kept_answer import KeptAnswer, mark
from shared.routes.v1.media_call import Made, MediaCall, with_media
from shared.storage import MediaFormat, formats, keep_retrying
from shared.tools.streams import peek

MAX_CLIP_BYTES = 256 * 1024 * 1024

_FORMATS: Mapping[str, MediaFormat] = {
    "mp3": formats.MP3,
    "opus": formats.OGG,
    "aac": formats.AAC,
    "flac": formats.FLAC,
    "wav": formats.WAV,
    "pcm": formats.PCM,
}
_DONE = 'event: speech.audio.done\ndata: {"type":"speech.audio.done"}\n\n'

logger = logging.getLogger(__name__)


class ClipCall(MediaCall):
    """Synthesizes speech."""

    prompt_field: ClassVar[str] = "input"

    async def make(self) -> Made:
        """Makes the call, unless an earlier run of it has stored the clip."""
        media_id = self.context.operation.id("clip")
        if self.context.operation.is_repeat and (kept := await self._recover(media_id)):
            return Made(kept)
        can_store = await self.can_store()
        async with AsyncExitStack() as held:
            opened = await self.forwarding.open(held, self.outgoing)
            is_events = opened.media_type == EVENT_STREAM
            last: list[bytes] = []

            async def audio() -> AsyncIterator[bytes]:
                pieces = self._events_of(opened, last) if is_events else self._bytes_of(opened)
                async for piece in pieces:
                    yield piece
                # Before the record is written, which tells the cost.
                await held.aclose()

            head, chunks = await peek(audio(), MAX_CLIP_BYTES, _too_large)
            found = self._format(head, opened) if can_store else None
            self.relay.begin(with_media(opened.headers, [media_id] if found else []))
            is_stored = found is not None and await self._store(media_id, chunks, found, opened)
            async for _ in chunks:
                pass
        if not is_stored:
            return Made(None)
        text = mark("bytes", media_id)
        if is_events:
            text = _event(media_id) + b"".join(last).decode("utf-8", "replace")
        return Made(KeptAnswer.make(text, opened.headers, [media_id]))

    async def _bytes_of(self, opened: OpenAnswer) -> AsyncIterator[bytes]:
        async for chunk in opened.chunks():
            await self.relay.put(chunk)
            yield chunk

    async def _events_of(self, opened: OpenAnswer, last: list[bytes]) -> AsyncIterator[bytes]:
        async for events in opened.events():
            await self.relay.put(events)
            for event in split_events(events):
                data = data_of(event)
                if data.get("type") == "speech.audio.done":
                    last.append(event)
                elif isinstance(data.get("audio"), str):
                    yield binascii.a2b_base64(data["audio"])

    async def _store(
        self, media_id: str, chunks: AsyncIterator[bytes], found: MediaFormat, opened: OpenAnswer
    ) -> bool:
        """Stores a clip, and returns whether that succeeded: the caller gets it in any case."""
        try:
            with keep_retrying():
                await self.media.save(
                    self.owner,
                    media_id,
                    chunks,
                    found,
                    self.origin_of(opened),
                    cost=lambda: self.cost_of(1),
                )
        except StorageUnavailable as error:
            logger.warning("A clip was not stored: %s", error.code)
            return False
        return True

    async def _recover(self, media_id: str) -> KeptAnswer | None:
        """Returns the answer with a clip that an earlier run stored before it died."""
        stored = await self.media.stored_format(media_id, formats.similar(self._wanted))
        if stored is None:
            return None
        await self.media.save(self.owner, media_id, None, stored, self.origin_of(None))
        if self.outgoing.is_streamed:
            return KeptAnswer.make(
                _event(media_id) + _DONE, {"content-type": EVENT_STREAM}, [media_id]
            )
        headers = {"content-type": stored.content_type}
        return KeptAnswer.make(mark("bytes", media_id), headers, [media_id])

    @property
    def _wanted(self) -> MediaFormat:
        asked = str(self.outgoing.fields.get("response_format"))
        return _FORMATS.get(asked, formats.MP3)

    def _format(self, head: bytes, opened: OpenAnswer) -> MediaFormat | None:
        """Returns the format of a clip, None where it is no audio that is known."""
        if not head or opened.media_type == JSON:
            return None
        if self._wanted is formats.PCM:
            return formats.PCM
        found = formats.sniff(head)
        return found if found is not None and found.kind == "audio" else None


def _event(media_id: str) -> str:
    data = f'{{"type":"speech.audio.delta","audio":"{mark("base64", media_id)}"}}'
    return f"event: speech.audio.delta\ndata: {data}\n\n"


def _too_large() -> ProviderUnavailable:
    return ProviderUnavailable(f"The provider's clip has more than {MAX_CLIP_BYTES} bytes.")
