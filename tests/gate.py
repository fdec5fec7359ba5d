"""Holds the provider's answers back, so that tests of what happens meanwhile need not race."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.waiting import LIMIT_SECONDS


class Hold:
    """One time of holding back, seen from the test's thread.

    Args:
        pieces: How many pieces of an answer are sent before.

    Attributes:
        pieces: The same.
        asked: Set when a request waits for its answer.
        left: Set when the client of such a request has gone.
        over: Set when answers may be sent again.
    """

    def __init__(self, pieces: int = 0) -> None:
        self.pieces = pieces
        self.asked = threading.Event()
        self.left = threading.Event()
        self.over = threading.Event()


class Gate:
    """A provider whose answers can be held back before their first byte, or in their middle.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._hold: Hold | None = None

    @contextmanager
    def holding(self, pieces: int = 0) -> Iterator[Hold]:
        """Holds all answers back until `Hold.over` is set, at the latest when the block ends.

        Args:
            pieces: How many pieces of an answer are sent before.
        """
        self._hold = hold = Hold(pieces)
        try:
            yield hold
        finally:
            self._hold = None
            hold.over.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request of the OpenAI API."""
        is_held = scope["type"] == "http" and scope["path"].startswith("/v1/")

        messages = 0

        async def send_later(message: Message) -> None:
            nonlocal messages
            messages += 1
            # The first message holds the headers, and each piece has one.
            if (hold := self._hold) and messages == (hold.pieces + 2 if hold.pieces else 1):
                await _wait(hold, receive)
            await send(message)

        await self._app(scope, receive, send_later if is_held else send)


async def _wait(hold: Hold, receive: Receive) -> None:
    over = asyncio.create_task(asyncio.to_thread(hold.over.wait))
    left = asyncio.create_task(_wait_for_disconnect(receive))
    hold.asked.set()
    try:
        await asyncio.wait({over, left}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # A streamed response may see its client leave before this does, and be cancelled.
        if not hold.over.is_set():
            hold.left.set()
        over.cancel()
        left.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def happened(event: threading.Event) -> bool:
    """Waits for an event; False where it does not come."""
    return await asyncio.to_thread(event.wait, LIMIT_SECONDS)
