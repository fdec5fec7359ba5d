"""Tasks that outlive the request that started them."""

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from shared.deadline import create_detached_task, remaining_seconds
from shared.errors import GatewayError

T = TypeVar("T")

logger = logging.getLogger(__name__)


_collecting: ContextVar[tuple[set[asyncio.Task[Any]], ...]] = ContextVar("collecting", default=())


@contextmanager
def collect_detached() -> Iterator[set[asyncio.Task[Any]]]:
    """Collects the detached tasks of the block, of the tasks that it starts, and of those themselves.

    Yields:
        The tasks that run, also after the block.
    """
    running: set[asyncio.Task[Any]] = set()
    token = _collecting.set((*_collecting.get(), running))
    try:
        yield running
    finally:
        _collecting.reset(token)


class Background:
    """Runs work to its end even when its caller is cancelled.

    Errors after that are only logged.

    Args:
        grace_seconds: How long a request waits for work, though its own deadline may have passed.
    """

    def __init__(self, grace_seconds: float = 5.0) -> None:
        self._grace_seconds = grace_seconds
        self._running: set[asyncio.Task[Any]] = set()

    async def complete(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs work, and returns its result to a caller who still waits for it.

        Args:
            work: The work, with a scope of its own. After the caller's deadline it has the time of grace
                to end, because a repeat is to find its idempotency key free.
        """
        task = self._track(create_detached_task(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not remaining_seconds():
                await asyncio.wait({task}, timeout=self._grace_seconds)
                if task.done():
                    return task.result()
            task.add_done_callback(_log_failure)
            raise

    async def finish(self, work: Coroutine[Any, Any, None], seconds: float | None = None) -> bool:
        """Runs work, and waits a limited time for it.

        Args:
            work: The work.
            seconds: How long the caller waits for it; None for the time of grace.

        Returns:
            Whether it is done.
        """
        task = self._track(create_detached_task(work))
        try:
            limit = self._grace_seconds if seconds is None else seconds
            await asyncio.wait({task}, timeout=limit)
        finally:
            if not task.done():
                task.add_done_callback(_log_failure)
        if task.done():
            task.result()
        return task.done()

    async def aclose(self) -> None:
        """Waits for the work that still runs."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _track(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        for running in (self._running, *_collecting.get()):
            running.add(task)
            task.add_done_callback(running.discard)
        return task


def _log_failure(task: "asyncio.Task[Any]") -> None:
    if task.cancelled():
        return
    error = task.exception()
    if isinstance(error, GatewayError):
        logger.warning("Detached work failed: %s", error.code)
    elif error is not None:
        logger.error("Detached work failed", exc_info=error)
