"""Server-sent events: the agent's events on the wire, pings in their silence, errors as the last one.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from shared.agent import (
    ChatCompleted,
    ChatCreated,
    ChatDelta,
    ChatEvent,
    ToolCallStarted,
    ToolFinished,
    ToolProgressed,
)
from shared.context import CallUsage
from shared.disconnect import cancel_on_disconnect
from shared.errors import GatewayError, ShuttingDown
from shared.outbound import EVENT_STREAM
from shared.routes.errors import error_body, internal_error_body
from shared.routes.guarded_route import request_deadline

_TYPES: Mapping[type[ChatEvent], str] = {
    ChatCreated: "chat.created",
    ChatDelta: "chat.delta",
    ToolCallStarted: "chat.tool_call",
    ToolProgressed: "chat.tool_progress",
}

logger = logging.getLogger(__name__)


class EventStream(StreamingResponse):
    """Sends the events of a chat as they happen, and cancels the chat when the client disconnects.

    Args:
        request: What is answered.
        first: The event that showed that there is something to send.
        events: Those that follow.
        ping_seconds: Of silence, after which a comment keeps proxies from giving up.
    """

    media_type = EVENT_STREAM

    def __init__(
        self,
        request: Request,
        first: ChatEvent,
        events: AsyncGenerator[ChatEvent, None],
        ping_seconds: float,
    ) -> None:
        self._request = request
        self._first = first
        self._events = events
        self._ping_seconds = ping_seconds
        self._texts = self._encoded()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(self._texts, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the stream."""
        try:
            async with cancel_on_disconnect(receive):
                await self.stream_response(send)
        except OSError as error:
            # Servers report a disconnect so while we are sending.
            raise ClientDisconnect from error
        except ClientDisconnect:
            if not self._request.state.is_shutting_down:
                raise
            event = _encode("chat.error", error_body(self._request, ShuttingDown()))
            await send({"type": "http.response.body", "body": event.encode(), "more_body": False})
        finally:
            await self._texts.aclose()
            await self._events.aclose()

    async def _encoded(self) -> AsyncGenerator[str, None]:
        yield encode_event(self._first)
        deadline = request_deadline(self._request)
        try:
            async with aclosing(with_silences(self._events, self._ping_seconds)) as events:
                async for event in events:
                    if not (deadline.remaining() or isinstance(event, ChatCompleted)):
                        raise deadline.exceeded()
                    yield ": ping\n\n" if event is None else encode_event(event)
        except GatewayError as error:
            yield _encode("chat.error", error_body(self._request, error))
        except Exception:
            request_id = self._request.state.request_id
            logger.exception("Unhandled error in the stream of request %s", request_id)
            yield _encode("chat.error", internal_error_body(self._request))


def encode_event(event: ChatEvent) -> str:
    """Returns an event as it stands in the stream."""
    if isinstance(event, ChatCompleted):
        return _encode("chat.completed", event.answer)
    if isinstance(event, ToolFinished):
        shown = {key: value for key, value in event.record.items() if key != "arguments"}
        return _encode("chat.tool_result", {"id": event.id, **shown})
    return _encode(_TYPES[type(event)], asdict(event))


async def admitted(
    events: AsyncGenerator[ChatEvent, None], usage: CallUsage
) -> AsyncGenerator[ChatEvent, None]:
    """Returns events once a model was asked, so that a refusal of the limits is the answer's status.

    Args:
        events: The events that follow the first one.
        usage: What the call has used.

    Raises:
        GatewayError: What the next event raises, where that is before a model was asked.
    """
    following = asyncio.create_task(_next(events))
    asking = asyncio.create_task(usage.admitted.wait())
    try:
        await asyncio.wait({following, asking}, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            following.result()
    except BaseException:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await events.aclose()
        raise
    finally:
        asking.cancel()
    return _resume(following, events)


async def _resume(
    following: "asyncio.Task[ChatEvent | None]", events: AsyncGenerator[ChatEvent, None]
) -> AsyncGenerator[ChatEvent, None]:
    async with aclosing(events):
        try:
            if (event := await following) is not None:
                yield event
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        async for event in events:
            yield event


async def with_silences(
    events: AsyncGenerator[ChatEvent, None], seconds: float
) -> AsyncGenerator[ChatEvent | None, None]:
    """Yields events, and None after so many seconds without any."""
    following: asyncio.Task[ChatEvent | None] | None = None
    try:
        while True:
            following = following or asyncio.create_task(_next(events))
            await asyncio.wait({following}, timeout=seconds)
            if not following.done():
                yield None
                continue
            event, following = following.result(), None
            if event is None:
                return
            yield event
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _next(events: AsyncGenerator[ChatEvent, None]) -> ChatEvent | None:
    return await anext(events, None)


def _encode(kind: str, data: Mapping[str, Any]) -> str:
    # In one line, as JSON without indentation always is; no number is NaN, which JSON does not know.
    encoded = to_json({"type": kind, **data}, inf_nan_mode="null").decode()
    return f"event: {kind}\ndata: {encoded}\n\n"
