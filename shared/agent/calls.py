"""Runs the tool calls of one turn together and reports what happens as it happens."""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

from shared.agent.events import ToolCallRecord, ToolCallStarted, ToolFinished, ToolProgressed
from shared.agent.offer import ToolOffer
from shared.openai_service import ToolCall
from shared.tools import ToolContext, ToolResult

logger = logging.getLogger(__name__)

MAX_PARALLEL_CALLS = 8
MAX_RESULT_CHARS = 100_000

CallEvent = ToolCallStarted | ToolProgressed | ToolFinished


async def run_calls(
    calls: Sequence[ToolCall], offer: ToolOffer, context: ToolContext
) -> AsyncGenerator[tuple[CallEvent, str | None], None]:
    """Yields each event of the calls; a finished call comes with the text that the model gets.

    At most eight calls run at a time. Closing the generator cancels those that still run.

    Raises:
        DeadlineExceeded: The request's budget is used up.
    """
    queue: asyncio.Queue[tuple[CallEvent, str | None] | Exception] = asyncio.Queue()
    places = asyncio.Semaphore(MAX_PARALLEL_CALLS)

    async def run(call: ToolCall) -> None:
        try:
            async with places:
                await _run_call(call, offer, context, queue)
        except Exception as error:  # noqa: BLE001  # Raised again in the task that reads the queue.
            queue.put_nowait(error)

    tasks = [asyncio.create_task(run(call)) for call in calls]
    unfinished = len(tasks)
    try:
        while unfinished:
            item = await context.deadline.wait_for(queue.get())
            if isinstance(item, Exception):
                raise item
            unfinished -= isinstance(item[0], ToolFinished)
            yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run_call(
    call: ToolCall,
    offer: ToolOffer,
    context: ToolContext,
    queue: "asyncio.Queue[tuple[CallEvent, str | None] | Exception]",
) -> None:
    started = monotonic()
    arguments = _decode(call.arguments)
    queue.put_nowait((ToolCallStarted(call.id, call.name, arguments), None))

    async def report(progress: float, total: float | None, message: str | None) -> None:
        queue.put_nowait((ToolProgressed(call.id, progress, total, message), None))

    its_context = replace(
        context, report_progress=report, idempotency_key=_own_key(call, context.idempotency_key)
    )
    result = await _call(call.name, arguments, offer, its_context)
    record = ToolCallRecord(
        name=call.name,
        arguments=arguments,
        result=result.text if result.structured is None else result.structured,
        is_error=result.is_error,
        duration_ms=round((monotonic() - started) * 1000),
    )
    queue.put_nowait((ToolFinished(call.id, record), _for_model(result)))


async def _call(
    name: str, arguments: dict[str, Any] | str, offer: ToolOffer, context: ToolContext
) -> ToolResult:
    toolset = offer.find(name)
    if toolset is None:
        names = ", ".join(offer.names) or "none"
        return ToolResult(f"There is no tool '{name}'. The tools are: {names}.", is_error=True)
    if isinstance(arguments, str):
        return ToolResult(
            "The arguments are not a JSON object. Call the tool again with valid JSON.",
            is_error=True,
        )
    return await toolset.call(name, arguments, context)


def _own_key(call: ToolCall, chat_key: str | None) -> str | None:
    # A chat that is run again after its instance died finds what its tools have been paid for already.
    if chat_key is None:
        return None
    return hashlib.sha256(f"{chat_key}\n{call.name}\n{call.arguments}".encode()).hexdigest()


def _decode(arguments: str) -> dict[str, Any] | str:
    # Some providers send nothing at all for a tool without parameters.
    if not arguments.strip():
        return {}
    try:
        decoded = json.loads(arguments)
    except ValueError:
        return arguments
    return decoded if isinstance(decoded, dict) else arguments


def _for_model(result: ToolResult) -> str:
    text = f"Error: {result.text}" if result.is_error else result.text
    if len(text) <= MAX_RESULT_CHARS:
        return text
    return f"{text[:MAX_RESULT_CHARS]}\n[cut: the result has {len(text)} characters]"
