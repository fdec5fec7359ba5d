"""Tasks that outlive the request that started them."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from shared.deadline import create_detached_task, remaining_seconds
from shared.errors import GatewayError

T = TypeVar("T")
FutureT = TypeVar("FutureT", bound="asyncio.Future[Any]")

logger = logging.getLogger(__name__)


class Background:
    """Runs tasks to completion even if the caller stops waiting.

    Args:
        grace_seconds: How long a request waits for it, though its own time may be over.
    """

    def __init__(self, grace_seconds: float = 5.0) -> None:
        self._grace_seconds = grace_seconds
        self._running: set[asyncio.Future[Any]] = set()

    async def finish(
        self,
        work: "Coroutine[Any, Any, None] | asyncio.Future[None]",
        seconds: float | None = None,
    ) -> bool:
        """Runs work to completion, even if the caller is cancelled or stops waiting.

        Args:
            work: What to do. What it raises after the caller has gone on is only logged.
            seconds: How long the caller waits for it; None for the time of grace.

        Returns:
            Whether it is done.
        """
        task = self.track(create_detached_task(work) if asyncio.iscoroutine(work) else work)
        try:
            await self.wait(task, seconds)
        finally:
            if not task.done():
                task.add_done_callback(_log_failure)
        if task.done():
            task.result()
        return task.done()

    async def complete(self, work: Coroutine[Any, Any, T]) -> T:
        """Does work to its end, and returns what it returns to a caller who still waits.

        Where the caller's deadline is over, the work, which has the same, may end in the time of grace.

        Args:
            work: What to do. What it raises after the caller has left is only logged.
        """
        task = self.track(create_detached_task(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not remaining_seconds():
                await self.wait(task)
                if task.done():
                    return task.result()
            task.add_done_callback(_log_failure)
            raise

    async def wait(self, task: "asyncio.Future[Any]", seconds: float | None = None) -> None:
        """Waits for a task, though the request's own time may be over; it is not cancelled.

        Args:
            task: What to wait for.
            seconds: How long; None for the time of grace.
        """
        await asyncio.wait({task}, timeout=self._grace_seconds if seconds is None else seconds)

    def track(self, task: FutureT) -> FutureT:
        """Keeps a task until it is done, and has `aclose` wait for it."""
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def aclose(self) -> None:
        """Waits for what is still going on."""
        await asyncio.gather(*self._running, return_exceptions=True)


def _log_failure(task: "asyncio.Future[Any]") -> None:
    if task.cancelled():
        return
    error = task.exception()
    if isinstance(error, GatewayError):
        logger.warning("Work that a request left behind failed: %s", error.code)
    elif error is not None:
        logger.error("Work that a request left behind failed", exc_info=error)
