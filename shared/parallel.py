"""Waiting for several things together, but not for too many at a time."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


async def gather_limited(limit: int, coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Runs coroutines together and returns their results in order; the first failure ends them all.

    Args:
        limit: Most that run at a time.
        coroutines: What to run.
    """
    places = asyncio.Semaphore(limit)

    async def run(coroutine: Coroutine[Any, Any, T]) -> T:
        async with places:
            return await coroutine

    pending = list(coroutines)
    tasks = [asyncio.create_task(run(coroutine)) for coroutine in pending]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Those that were cancelled before their turn never began.
        for coroutine in pending:
            coroutine.close()


@asynccontextmanager
async def beside(coroutine: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Runs a coroutine beside the block, which awaits the task; the end of the block cancels it."""
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
