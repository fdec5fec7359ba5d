"""A provider that answers with given bytes and keeps the bytes that it was sent."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

EVENT_STREAM = "text/event-stream"


@dataclass
class Seen:
    """A request that came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What to answer.

    Attributes:
        pieces: The body in pieces.
        content_type: Its media type.
        status: The HTTP status.
        headers: Further headers.
        pause: Seconds before each piece.
        breaks: Whether the connection breaks after the last piece.
    """

    pieces: Sequence[bytes]
    content_type: str = "application/json"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pause: float = 0
    breaks: bool = False


class Upstream:
    """The provider.

    Attributes:
        answer: What it answers next, and from then on.
        seen: The requests that came.
        disconnected: Set when a client disconnects before the answer is complete.
    """

    def __init__(self) -> None:
        self.answer = Answer([b"{}"])
        self.seen: list[Seen] = []
        self.disconnected = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = Request(scope, receive)
        self.seen.append(
            Seen(
                request.method,
                request.url.path,
                request.url.query,
                dict(request.headers),
                await request.body(),
            )
        )
        answer = self.answer
        response: Response
        if len(answer.pieces) == 1 and not answer.breaks:
            await asyncio.sleep(answer.pause)
            response = Response(answer.pieces[0], answer.status, media_type=answer.content_type)
        else:
            response = StreamingResponse(
                self._pieces(answer), answer.status, media_type=answer.content_type
            )
        response.headers.update(answer.headers)
        await response(scope, receive, send)

    async def _pieces(self, answer: Answer) -> AsyncIterator[bytes]:
        try:
            for piece in answer.pieces:
                await asyncio.sleep(answer.pause)
                yield piece
        except asyncio.CancelledError:
            self.disconnected = True
            raise
        if answer.breaks:
            raise ConnectionAbortedError
