"""Events on their way to a reader who may be slower than the agent."""

import asyncio
from collections import deque

from shared.agent.events import ChatDelta, ChatEvent, ToolProgressed

MAX_WAITING = 64
"""Pieces of text and other events that wait before the buffer is full."""

MAX_WAITING_CHARS = 64 * 1024
"""Maximum characters of text that wait."""

MAX_JOINED_CHARS = 4096
"""Maximum characters of the pieces of text that are read as one where more than `MAX_WAITING` wait."""


class EventBuffer:
    """Holds events until one reader takes them, in their order.

    It is bounded by what the agent holds anyway: pieces of text wait as they came, and of the progress
    of a tool call only the newest report does.

    Args:
        waits: Whether the writer waits for a slow reader.
    """

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        # An entry that is a deque is a run of pieces of text; one that is a string is the id of a call
        # whose newest progress is in `_progress`.
        self._waiting: deque[ChatEvent | deque[str] | str] = deque()
        self._progress: dict[str, ToolProgressed] = {}
        self._count = 0
        self._chars = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._is_closed = False
        self._error: Exception | None = None

    @property
    def is_full(self) -> bool:
        """Whether so many events wait that a writer that waits should wait."""
        return self._count >= MAX_WAITING or self._chars >= MAX_WAITING_CHARS

    def put(self, event: ChatEvent) -> None:
        """Adds an event; after `close` it is dropped."""
        if self._is_closed:
            return
        if isinstance(event, ToolProgressed):
            if event.id not in self._progress:
                self._append(event.id)
            self._progress[event.id] = event
        elif isinstance(event, ChatDelta):
            self._chars += len(event.text)
            last = self._waiting[-1] if self._waiting else None
            if isinstance(last, deque):
                last.append(event.text)
                self._count += 1
            else:
                self._append(deque([event.text]))
        else:
            self._append(event)
        self._arrived.set()

    async def room(self) -> None:
        """Waits until the buffer is not full, or closed; not at all where its writer does not wait."""
        while self._waits and self.is_full and not self._is_closed:
            self._taken.clear()
            await self._taken.wait()

    def close(self, error: Exception | None = None) -> None:
        """Ends the events after those that wait.

        Args:
            error: What the reader gets after them; None for a plain end.
        """
        self._is_closed = True
        self._error = self._error or error
        self._arrived.set()
        self._taken.set()

    def discard(self) -> None:
        """Drops what waits, and all that would follow: the reader is gone."""
        self.close()
        self._waiting.clear()
        self._progress.clear()
        self._count = self._chars = 0

    def __aiter__(self) -> "EventBuffer":
        return self

    async def __anext__(self) -> ChatEvent:
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if self._is_closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        event = self._take()
        self._taken.set()
        return event

    def _append(self, entry: ChatEvent | deque[str] | str) -> None:
        self._waiting.append(entry)
        self._count += 1

    def _take(self) -> ChatEvent:
        first = self._waiting[0]
        if isinstance(first, deque):
            return self._take_text(first)
        self._waiting.popleft()
        self._count -= 1
        return self._progress.pop(first) if isinstance(first, str) else first

    def _take_text(self, pieces: deque[str]) -> ChatDelta:
        joins = self._count > MAX_WAITING
        taken = [pieces.popleft()]
        chars = len(taken[0])
        while joins and pieces and chars + len(pieces[0]) <= MAX_JOINED_CHARS:
            taken.append(pieces.popleft())
            chars += len(taken[-1])
        if not pieces:
            self._waiting.popleft()
        self._count -= len(taken)
        self._chars -= chars
        return ChatDelta("".join(taken))
