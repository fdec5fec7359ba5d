"""`POST /v1/images/generations` and `/v1/images/edits`: the pictures in the answer are stored.

Source: https://platform.openai.com/docs/api-reference/images
"""

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from time import time
from typing import Any

from pydantic_core import to_json

from shared.errors import ProviderUnavailable, StorageUnavailable
from shared.openai_service.event_streams import split_events
from shared.outbound import EVENT_STREAM
from shared.parallel import gather_limited
from shared.routes.v1.bodies import JSON
from shared.routes.v1.forwarding import OpenAnswer
from shared.routes.v1.kept_answer import KeptAnswer, mark
from shared.routes.v1.media_call import Made, MediaCall, with_media
from shared.routes.v1.picture_data import (
    Pictures,
    decode_base64,
    find_base64,
    is_completed,
    with_mark,
)
from shared.storage import MediaFormat, Origin, formats, keep_retrying

MAX_IMAGE_BYTES = 64 * 1024 * 1024
MAX_IMAGES = 10
PARALLEL_STORES = 2

_FORMATS: Mapping[str, MediaFormat] = {
    "png": formats.PNG,
    "webp": formats.WEBP,
    "jpeg": formats.JPEG,
    "gif": formats.GIF,
    "svg": formats.SVG,
}

logger = logging.getLogger(__name__)


class ImageCall(MediaCall):
    """Generates or edits images."""

    async def make(self) -> Made:
        """Makes the call, unless an earlier run of it has stored all pictures."""
        if self.context.operation.is_repeat and (kept := await self._recover()):
            return Made(kept)
        can_store = await self.can_store()
        async with AsyncExitStack() as held:
            opened = await self.forwarding.open(held, self.outgoing)
            if opened.media_type == EVENT_STREAM:
                return await self._follow(opened, can_store=can_store)
            pictures = Pictures.read(await opened.read())
            opened.report(pictures.document)
        if not can_store:
            return Made(None, pictures.body, opened.headers)
        # The charge is settled, so that the cost of each picture is known.
        cost = self.cost_of(len(pictures.rows))
        origin = self.origin_of(opened).model_copy(update={"cost_usd": cost})

        async def store(index: int, row: Mapping[str, Any]) -> str | None:
            return await self._store(index, await pictures.picture(row), origin)

        stores = [store(*each) for each in enumerate(pictures.rows[:MAX_IMAGES])]
        stored = await gather_limited(PARALLEL_STORES, stores)
        stored += [None] * (len(pictures.rows) - len(stored))
        ids = [each for each in stored if each is not None]
        if self.outgoing.wants_links:
            return Made(KeptAnswer.make(pictures.text_with_links(ids), opened.headers, ids))
        kept = None
        if self.context.idempotency_key is not None and len(ids) == len(stored):
            kept = KeptAnswer.make(pictures.text(stored), opened.headers, ids)
        return Made(kept, pictures.body, with_media(opened.headers, ids))

    async def _follow(self, opened: OpenAnswer, *, can_store: bool) -> Made:
        """Sends events on, and stores each complete picture in them."""
        origin = self.origin_of(opened)
        ids = [self._id(index) for index in range(self._count)] if can_store else []
        self.relay.begin(with_media(opened.headers, ids))
        kept: list[str] = []
        stored: list[str] = []
        async for events in opened.events():
            await self.relay.put(events)
            for event in split_events(events) if can_store else ():
                if not is_completed(event) or not (spans := find_base64(event)):
                    continue
                picture = await decode_base64(event, spans[0])
                if media_id := await self._store(len(stored), picture, origin):
                    stored.append(media_id)
                    kept.append(with_mark(event, media_id))
        if not stored:
            return Made(None)
        return Made(KeptAnswer.make("".join(kept), opened.headers, stored))

    async def _store(self, index: int, picture: bytes | str, origin: Origin) -> str | None:
        """Stores a picture and returns its id; None where that fails and the caller wants no link."""
        media_id = self._id(index)
        try:
            data = picture if isinstance(picture, bytes) else await self._fetch(picture)
            found = formats.sniff(data[: formats.HEAD_BYTES])
            if found is None or found.kind != "image":
                raise ProviderUnavailable(
                    "The provider's answer holds an image in no known format."
                )
            with keep_retrying():
                await self.media.save(self.owner, media_id, data, found, origin)
        except (StorageUnavailable, ProviderUnavailable) as error:
            if self.outgoing.wants_links:
                raise
            # The caller gets it all the same: it is paid for.
            logger.warning("A picture was not stored: %s", error.code)
            return None
        return media_id

    async def _fetch(self, url: str) -> bytes:
        async with self.downloads.open(url, max_bytes=MAX_IMAGE_BYTES) as download:
            return b"".join([chunk async for chunk in download.chunks])

    async def _recover(self) -> KeptAnswer | None:
        """Returns the answer with pictures that an earlier run stored before it died."""
        if self.outgoing.is_streamed:
            return None
        asked = str(self.outgoing.fields.get("output_format"))
        wanted = formats.similar(_FORMATS.get(asked, formats.PNG))
        ids = [self._id(index) for index in range(self._count)]
        for media_id in ids:
            stored = await self.media.stored_format(media_id, wanted)
            if stored is None:
                return None
            await self.media.save(self.owner, media_id, None, stored, self.origin_of(None))
        rows = [{"b64_json": mark("base64", media_id)} for media_id in ids]
        if self.outgoing.wants_links:
            rows = [{"url": mark("url", media_id)} for media_id in ids]
        text = to_json({"created": int(time()), "data": rows}).decode()
        return KeptAnswer.make(text, {"content-type": JSON}, ids)

    def _id(self, index: int) -> str:
        return self.context.operation.id(f"image {index}")

    @property
    def _count(self) -> int:
        count = str(self.outgoing.fields.get("n") or 1)
        return min(int(count), MAX_IMAGES) if count.isdecimal() and len(count) < 4 else 1
