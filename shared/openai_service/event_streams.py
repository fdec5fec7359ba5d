"""Event streams of OpenAI's API, parsed while their bytes are forwarded.

Sources: https://platform.openai.com/docs/api-reference/chat-streaming and
https://platform.openai.com/docs/api-reference/responses-streaming
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import from_json

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""Held back of one event at most; what is longer passes unread."""

_END_OF_EVENT = re.compile(rb"\r\n\r\n|\n\n")
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')
_DONE = re.compile(rb"^data:\s*\[DONE\]", re.MULTILINE)
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_ERROR = re.compile(rb'^data:\s*\{\s*"error"\s*:|^event:\s*error', re.MULTILINE)
_TERMINAL = re.compile(
    rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed)|error'
    rb'|image_(?:generation|edit)\.completed|transcript\.text\.done|speech\.audio\.done)"'
)


class StreamReader:
    """Reads a stream of events as it passes, whole events at a time.

    Args:
        hides_usage: Whether the event that tells the usage of a chat completion was asked for by this
            app and not by the caller, who is not sent it.

    Attributes:
        usage: What the provider says that the answer used; None until it says so.
        model: The model that answers, as the provider names it; None until it says so.
        is_complete: Whether the stream has come to its proper end, or to an error of the provider.
        has_failed: Whether the provider ended it with an error.
    """

    def __init__(self, *, hides_usage: bool = False) -> None:
        self._hides_usage = hides_usage
        self._held = bytearray()
        self._has_begun = False
        self.usage: Mapping[str, Any] | None = None
        self.model: str | None = None
        self.is_complete = False
        self.has_failed = False

    def feed(self, data: bytes) -> bytes:
        """Takes what has come and returns what may go on: whole events."""
        held = self._held
        # What was held before has no end of an event, but perhaps the beginning of one.
        start = max(0, len(held) - 3)
        held += data
        end = _last_end(held, start)
        if not end and len(held) < MAX_EVENT_BYTES:
            return b""
        events = bytes(held[:end] if end else held)
        del held[: len(events)]
        return self._read(events)

    def rest(self) -> bytes:
        """Returns what has come after the last whole event."""
        rest = bytes(self._held)
        self._held.clear()
        return self._read(rest) if rest else rest

    def _read(self, events: bytes) -> bytes:
        # Each event is searched. A pattern for beginnings of lines takes four times as long as a word.
        if _FINISHED.search(events) or (b"[DONE]" in events and _DONE.search(events)):
            self.is_complete = True
        if b"error" in events and _ERROR.search(events):
            self.is_complete = self.has_failed = True
        if not self._has_begun:
            self._has_begun = True
            self._note_model(events)
        if not _USAGE.search(events) and not _TERMINAL.search(events):
            return events
        return b"".join(event for event in split_events(events) if self._passes(event))

    def _note_model(self, events: bytes) -> None:
        for event in split_events(events):
            model = data_of(event).get("model")
            if isinstance(model, str):
                self.model = model
                return

    def _passes(self, event: bytes) -> bool:
        data = data_of(event)
        if _TERMINAL.search(event):
            self.is_complete = True
            self.has_failed = self.has_failed or data.get("type") in ("error", "response.failed")
        # Of the Responses API the usage stands in the response that the event carries.
        answer = data.get("response")
        holder = answer if isinstance(answer, Mapping) else data
        usage = holder.get("usage")
        if isinstance(holder.get("model"), str):
            self.model = holder["model"]
        if not isinstance(usage, Mapping):
            return True
        self.usage = usage
        return not (self._hides_usage and data.get("choices") == [])


def _last_end(data: bytearray, start: int) -> int:
    """Returns where the last whole event ends, 0 where none ends after ``start``."""
    lines, windows = data.rfind(b"\n\n", start), data.rfind(b"\r\n\r\n", start)
    return max(lines + 2 if lines >= 0 else 0, windows + 4 if windows >= 0 else 0)


def split_events(events: bytes) -> Iterator[bytes]:
    """Yields events one by one, with what ends them."""
    start = 0
    for found in _END_OF_EVENT.finditer(events):
        yield events[start : found.end()]
        start = found.end()
    if start < len(events):
        yield events[start:]


def data_of(event: bytes) -> Mapping[str, Any]:
    """Returns the JSON object that an event carries, an empty one where it carries something else."""
    lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
    try:
        value = from_json(b"\n".join(lines))
    except ValueError:
        return {}
    return value if isinstance(value, Mapping) else {}
