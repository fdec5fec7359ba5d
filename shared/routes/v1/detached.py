"""Calls under `/v1` that continue without their callers: those that make media, and those with a key.

What they make is paid for, stored, and kept for a repeat with the same idempotency key.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from fastapi import Request, Response

from shared.context import CallContext
from shared.errors import InvalidRequest
from shared.outbound import EVENT_STREAM, Downloads
from shared.routes.forwarded_stream import ForwardedStream
from shared.routes.guarded_route import call_context
from shared.routes.v1.bodies import JSON, Outgoing
from shared.routes.v1.clips import ClipCall
from shared.routes.v1.forwarding import Forwarding, decode
from shared.routes.v1.images import ImageCall
from shared.routes.v1.kept_answer import KeptAnswer
from shared.routes.v1.media_call import Made
from shared.routes.v1.relay import Relay
from shared.storage import MediaStore
from shared.tools import Claims

MAX_KEPT_BYTES = 4 * 1024 * 1024
"""Maximum bytes of an answer without media that is kept for a repeat."""

MEDIA_CALLS: Mapping[str, type[ClipCall | ImageCall]] = {
    "images/generations": ImageCall,
    "images/edits": ImageCall,
    "audio/speech": ClipCall,
}
KEPT_PATHS = ("chat/completions", "responses", "audio/transcriptions")
"""Routes without media whose answers are kept for a repeat, where they are not streamed."""


class DetachedCalls:
    """Makes calls that go on without their callers, and forwards all others.

    Args:
        forwarding: Sends requests to the providers.
        claims: Claims calls by their idempotency keys.
        media: Stores pictures and clips.
        downloads: Fetches pictures that a provider returns as URLs.
    """

    def __init__(
        self, forwarding: Forwarding, claims: Claims, media: MediaStore, downloads: Downloads
    ) -> None:
        self._forwarding = forwarding
        self._claims = claims
        self._media = media
        self._downloads = downloads

    async def respond(self, request: Request, outgoing: Outgoing) -> Response:
        """Returns the answer to a request of any route.

        Raises:
            InvalidRequest: Pictures cannot be streamed as links.
            GatewayError: The provider or the storage failed, before the answer has begun.
        """
        context = await call_context(request)
        is_kept = outgoing.path in KEPT_PATHS and not outgoing.is_streamed
        if outgoing.path not in MEDIA_CALLS and not (is_kept and context.idempotency_key):
            return await self._forwarding.respond(request, outgoing)
        if outgoing.wants_links and outgoing.is_streamed:
            raise InvalidRequest.for_field("response_format", "Pictures are streamed as 'b64_json'")
        relay = Relay()
        running = asyncio.create_task(
            self._claims.background.complete(self._run(outgoing, context, relay))
        )
        running.add_done_callback(lambda _: relay.close())
        try:
            await relay.begun()
            if relay.headers is None:
                return await self._answer(request, await running, context)
        except BaseException:
            await _abandon(relay, running)
            raise
        return self._stream(request, _follow(relay, running), relay.headers)

    async def _answer(self, request: Request, made: Made, context: CallContext) -> Response:
        if made.body is not None:
            return Response(made.body, headers={**(made.headers or {})})
        if made.kept is None:
            raise AssertionError("unreachable: an answer without a body is kept")
        content = await made.kept.open(context.principal.name, self._media)
        return self._stream(request, content, made.kept.headers)

    def _stream(
        self, request: Request, content: AsyncGenerator[bytes, None], headers: Mapping[str, str]
    ) -> Response:
        is_events = headers.get("content-type", "").startswith(EVENT_STREAM)
        ping_seconds = self._forwarding.ping_seconds if is_events else None
        return ForwardedStream(request, content, headers=headers, ping_seconds=ping_seconds)

    async def _run(self, outgoing: Outgoing, context: CallContext, relay: Relay) -> Made:
        digest = b"" if context.idempotency_key is None else outgoing.digest()
        request = f"/v1/{outgoing.path} ".encode() + digest
        async with context.scope(), self._claims.claim(request, context) as claim:
            if claim.is_done:
                return Made(KeptAnswer.read(claim.result))
            made = await self._make(outgoing, replace(context, operation=claim.operation), relay)
            if made.kept is not None:
                claim.result = made.kept.as_json()
            return made

    async def _make(self, outgoing: Outgoing, context: CallContext, relay: Relay) -> Made:
        if kind := MEDIA_CALLS.get(outgoing.path):
            call = kind(
                forwarding=self._forwarding,
                media=self._media,
                downloads=self._downloads,
                outgoing=outgoing,
                context=context,
                relay=relay,
            )
            return await call.make()
        async with AsyncExitStack() as held:
            opened = await self._forwarding.open(held, outgoing)
            body = await opened.read()
            if opened.media_type == JSON:
                opened.report(decode(body))
        kept = None
        if len(body) <= MAX_KEPT_BYTES:
            kept = KeptAnswer.make(body.decode("utf-8", "replace"), opened.headers)
        return Made(kept, body, opened.headers)


async def _follow(relay: Relay, running: "asyncio.Task[Made]") -> AsyncGenerator[bytes, None]:
    try:
        async for piece in relay.pieces():
            yield piece
        await running
    finally:
        await _abandon(relay, running)


async def _abandon(relay: Relay, running: "asyncio.Task[Made]") -> None:
    # Only the waiting ends: the call goes on.
    relay.discard()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
