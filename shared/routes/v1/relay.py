"""Relays the bytes of an answer from a detached call to a caller who may disconnect."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping

MAX_WAITING_BYTES = 1024 * 1024
"""Bytes that wait before the writer should wait."""


class Relay:
    """Holds the pieces of an answer until one reader takes them; the writer waits for a slow reader.

    Attributes:
        headers: Headers of the answer; None until the answer begins.
    """

    def __init__(self) -> None:
        self.headers: Mapping[str, str] | None = None
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._has_begun = asyncio.Event()
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._is_closed = False

    def begin(self, headers: Mapping[str, str]) -> None:
        """Begins the answer."""
        self.headers = headers
        self._has_begun.set()

    async def begun(self) -> None:
        """Waits until the answer begins, or the relay is closed without one."""
        await self._has_begun.wait()

    async def put(self, data: bytes) -> None:
        """Adds a piece, and waits until there is room for another one; after `close` it is dropped."""
        if self._is_closed:
            return
        self._waiting.append(data)
        self._size += len(data)
        self._arrived.set()
        # Before the answer begins nobody reads.
        while self._size > MAX_WAITING_BYTES and self._has_begun.is_set() and not self._is_closed:
            self._taken.clear()
            await self._taken.wait()

    def close(self) -> None:
        """Ends the answer after the pieces that wait."""
        self._is_closed = True
        for event in (self._has_begun, self._arrived, self._taken):
            event.set()

    def discard(self) -> None:
        """Drops what waits, and all that would follow: the reader has disconnected."""
        self.close()
        self._waiting.clear()
        self._size = 0

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yields the pieces until the relay is closed."""
        while True:
            while self._waiting:
                data = self._waiting.popleft()
                self._size -= len(data)
                self._taken.set()
                yield data
            if self._is_closed:
                return
            self._arrived.clear()
            await self._arrived.wait()
