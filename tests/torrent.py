"""A provider that says more, and faster, than anybody reads."""

import asyncio
import json
from typing import Any

from starlette.types import Receive, Scope, Send

WORD = "word "


class Torrent:
    """Streams a chat completion as fast as it is taken.

    Args:
        chars: How long the answer is; None for one without end.
        piece_chars: How long each piece of it is.
        pause: Seconds between two pieces.

    Attributes:
        chars: The same, for the next request.
        piece_chars: The same, for the next request.
        sent: Characters of all answers that were taken.
        left: How many of those who asked have left.
    """

    def __init__(self, chars: int | None, piece_chars: int = 1000, pause: float = 0) -> None:
        self.chars = chars
        self.piece_chars = piece_chars
        self._pause = pause
        self.sent = 0
        self.left = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        leaving = asyncio.ensure_future(receive())
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        piece_chars = self.piece_chars
        piece = _event({"content": (WORD * piece_chars)[:piece_chars]}, None)
        said, chars = 0, self.chars
        while (chars is None or said < chars) and not leaving.done():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            said += piece_chars
            self.sent += piece_chars
            # The server never suspends while its client reads, and would not learn of its leaving.
            await asyncio.sleep(self._pause)
        if leaving.done():
            self.left += 1
            return
        end = _event({}, "stop") + b"data: [DONE]\n\n"
        await send({"type": "http.response.body", "body": end, "more_body": False})
        leaving.cancel()


def _event(delta: dict[str, Any], finish_reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {
        "id": "chatcmpl-torrent",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "torrent",
        "choices": [choice],
    }
    return f"data: {json.dumps(chunk)}\n\n".encode()
