"""Progress of calls that last: what was told is told again, so that no client gives up meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from shared.context import CallContext

STEP = 1 / 1024
"""What repeated progress grows by: MCP has it increase each time, and steps count in ones."""


@asynccontextmanager
async def repeated_progress(
    context: CallContext, ping_seconds: float
) -> AsyncIterator[CallContext]:
    """Repeats the progress of a call while it reports nothing new.

    Clients end calls that are silent for long (60 s by default in the TypeScript SDK, which begins anew
    with each progress where it is told to), and proxies end silent connections.

    Args:
        context: The context of a call whose client asked for progress.
        ping_seconds: Seconds without progress after which the last one is repeated.

    Yields:
        The context for the call.
    """
    progress = _Progress(context)
    repeating = asyncio.create_task(progress.repeat(ping_seconds))
    try:
        yield replace(context, report_progress=progress.report)
    finally:
        repeating.cancel()


class _Progress:
    def __init__(self, context: CallContext) -> None:
        self._send = context.report_progress
        self._told = -STEP
        self._total: float | None = None
        self._message: str | None = None
        self._has_news = asyncio.Event()

    async def report(self, progress: float, total: float | None, message: str | None) -> None:
        self._told = max(progress, self._told + STEP)
        self._total, self._message = total, message
        self._has_news.set()
        await self._send(self._told, total, message)

    async def repeat(self, ping_seconds: float) -> None:
        # A client that cannot be told has left, and the call ends for that reason.
        with suppress(Exception):
            while True:
                try:
                    async with asyncio.timeout(ping_seconds):
                        await self._has_news.wait()
                    self._has_news.clear()
                except TimeoutError:
                    self._told += STEP
                    await self._send(self._told, self._total, self._message)
