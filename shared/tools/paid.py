"""Calls that cost money: once for each idempotency key, and to the end once they have begun."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from shared.background import Background
from shared.context import CallContext
from shared.deadline import create_detached_task, remaining_seconds
from shared.errors import GatewayError
from shared.storage import IdempotencyStore, MediaStore, Operation
from shared.tools.toolset import JsonObject

logger = logging.getLogger(__name__)

Work = Callable[[CallContext], Awaitable[JsonObject]]


class PaidCalls:
    """Runs what costs money.

    A caller who leaves does not end what goes into storage, nor what has an idempotency key: it was
    paid for, and is there when the caller asks again.

    Args:
        idempotency: Remembers results by key.
        media: Gives fresh links to results that were remembered.
    """

    def __init__(self, idempotency: IdempotencyStore, media: MediaStore) -> None:
        self._idempotency = idempotency
        self._media = media
        self._background = Background()

    async def run(
        self, request: bytes, work: Work, context: CallContext, *, detached: bool
    ) -> JsonObject:
        """Runs the work, or returns what it returned when the key was used first.

        Args:
            request: What the caller asks for, the same for the same request.
            work: Does it.
            context: Who asks, under which key.
            detached: Whether the work goes on without its caller even where there is no key.

        Raises:
            Conflict: The key is in use, or was used for something else.
            GatewayError: What the work raises.
        """
        if context.idempotency_key is None:
            # Several calls can share a context, as those of one chat do, but not their ids.
            context = replace(context, operation=Operation.begin())
            if not detached:
                return await work(context)
            return await self._to_the_end(work, context)

        async def run_once(its_context: CallContext) -> JsonObject:
            return await self._run_once(request, work, its_context)

        return await self._to_the_end(run_once, context)

    async def aclose(self) -> None:
        """Waits for what still runs; each has its deadline."""
        await self._background.aclose()

    async def _run_once(self, request: bytes, work: Work, context: CallContext) -> JsonObject:
        async def run(operation: Operation) -> JsonObject:
            return await work(replace(context, operation=operation))

        result, is_remembered = await self._idempotency.run(
            context.principal.name, context.idempotency_key or "", request, run, context.deadline
        )
        if is_remembered:
            result = await self._media.refresh(context.principal.name, result, result)
        fresh: JsonObject = result
        return fresh

    async def _to_the_end(self, work: Work, context: CallContext) -> JsonObject:
        has_caller = True

        async def report(progress: float, total: float | None, message: str | None) -> None:
            if has_caller:
                # Progress is a courtesy; that it cannot be delivered must not end what is paid for.
                with suppress(Exception):
                    await context.report_progress(progress, total, message)

        async def run() -> JsonObject:
            async with context.scope():
                return await work(replace(context, report_progress=report))

        task = self._background.track(create_detached_task(run()))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            has_caller = False
            if not remaining_seconds():
                # It ends now as well, and a repeat is to find its key free.
                await self._background.wait(task)
                if task.done():
                    return task.result()
            task.add_done_callback(_log_failure)
            raise


def _log_failure(task: "asyncio.Task[JsonObject]") -> None:
    if task.cancelled():
        return
    error = task.exception()
    if isinstance(error, GatewayError):
        logger.warning("A paid call whose caller had left failed: %s", error.code)
    elif error is not None:
        logger.error("A paid call whose caller had left failed", exc_info=error)
