"""Runs the tool calls of one turn together and reports what happens as it happens."""

import asyncio
import hashlib
import json
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

from shared.agent.events import ToolCallRecord, ToolCallStarted, ToolFinished, ToolProgressed
from shared.agent.offer import ToolOffer
from shared.errors import DeadlineExceeded
from shared.openai_service import ToolCall, whole_characters
from shared.telemetry import current_record
from shared.tools import ToolContext, ToolRegistry, ToolResult

logger = logging.getLogger(__name__)

MAX_PARALLEL_CALLS = 8
MAX_RESULT_CHARS = 100_000
TOOL_TIMEOUT_SECONDS = 120.0
LAST_WORDS_SECONDS = 20.0
"""Of the request's budget, kept from tools so that the model can still answer."""

MAX_RESERVED_SHARE = 0.25
"""Of what is left, where that is little."""

CallEvent = ToolCallStarted | ToolProgressed | ToolFinished
_Queue = asyncio.Queue[tuple[CallEvent, str | None] | Exception]


class CallRunner:
    """Runs the tool calls of one request, turn by turn.

    Args:
        offer: The tools that may be called.
        context: Who asks.
    """

    def __init__(self, offer: ToolOffer, context: ToolContext) -> None:
        self._offer = offer
        self._context = context
        self._counts: Counter[str] = Counter()

    async def run(
        self, calls: Sequence[ToolCall]
    ) -> AsyncGenerator[tuple[CallEvent, str | None], None]:
        """Yields each event of the calls; a finished call comes with the text that the model gets.

        At most eight calls run at a time. Closing the generator cancels those that still run.

        Raises:
            DeadlineExceeded: The request's budget is used up.
        """
        queue: _Queue = asyncio.Queue()
        places = asyncio.Semaphore(MAX_PARALLEL_CALLS)

        async def run(call: ToolCall, context: ToolContext) -> None:
            try:
                async with places:
                    await _run_call(call, self._offer, context, queue)
            except Exception as error:  # noqa: BLE001  # Raised again in the task that reads the queue.
                queue.put_nowait(error)

        tasks = [asyncio.create_task(run(call, self._context_of(call))) for call in calls]
        unfinished = len(tasks)
        try:
            while unfinished:
                item = await self._context.deadline.wait_for(queue.get())
                if isinstance(item, Exception):
                    raise item
                unfinished -= isinstance(item[0], ToolFinished)
                yield item
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _context_of(self, call: ToolCall) -> ToolContext:
        """Returns the context of a call.

        A request that is run again after its instance died finds what its calls have stored and paid
        for. Of equal calls the first, the second and so on are each one of their own.
        """
        context = self._context
        purpose = f"{call.name}\n{call.arguments}"
        self._counts[purpose] += 1
        purpose += f"\n{self._counts[purpose]}"
        key = context.idempotency_key
        if key is not None:
            key = hashlib.sha256(f"{key}\n{purpose}".encode()).hexdigest()
        return replace(context, idempotency_key=key, operation=context.operation.part(purpose))


async def _run_call(call: ToolCall, offer: ToolOffer, context: ToolContext, queue: _Queue) -> None:
    started = monotonic()
    arguments = decode_arguments(call.arguments)
    queue.put_nowait((ToolCallStarted(call.id, call.name, arguments), None))

    async def report(progress: float, total: float | None, message: str | None) -> None:
        queue.put_nowait((ToolProgressed(call.id, progress, total, message), None))

    result = await _call_in_time(
        call.name, arguments, offer, replace(context, report_progress=report)
    )
    if result.failure is not None and result.failure.outcome != "client_error":
        # A model that calls a tool wrong is told so and calls it again.
        current_record().fail(result.failure, call.name)
    record = ToolCallRecord(
        name=call.name,
        arguments=arguments,
        result=result.text if result.structured is None else result.structured,
        is_error=result.is_error,
        duration_ms=round((monotonic() - started) * 1000),
    )
    queue.put_nowait((ToolFinished(call.id, record), _for_model(result)))


async def _call_in_time(
    name: str, arguments: dict[str, Any] | str, offer: ToolOffer, context: ToolContext
) -> ToolResult:
    # A tool that hangs is not to take the time in which the model can say so.
    remaining = context.deadline.remaining()
    reserve = min(LAST_WORDS_SECONDS, remaining * MAX_RESERVED_SHARE)
    deadline = context.deadline.within(min(TOOL_TIMEOUT_SECONDS, remaining - reserve))
    try:
        return await deadline.wait_for(
            _call(name, arguments, offer, replace(context, deadline=deadline))
        )
    except DeadlineExceeded as error:
        is_ours = isinstance(offer.find(name), ToolRegistry)
        return ToolResult(
            f"The tool '{name}' did not finish within {deadline.budget:.0f} seconds.",
            is_error=True,
            failure=error.failure if is_ours else None,
        )


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


def decode_arguments(arguments: str) -> dict[str, Any] | str:
    """Returns the arguments of a call, as the model wrote them where they are no JSON object."""
    # Some providers send nothing at all for a tool without parameters.
    if not arguments.strip():
        return {}
    try:
        decoded = json.loads(arguments, parse_constant=_refuse_constant)
    except ValueError:
        return arguments
    if not isinstance(decoded, dict):
        return arguments
    if "\\u" not in arguments:
        return decoded
    mended: dict[str, Any] = json.loads(whole_characters(json.dumps(decoded, ensure_ascii=False)))
    return mended


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _for_model(result: ToolResult) -> str:
    return cut(f"Error: {result.text}" if result.is_error else result.text)


def cut(text: str) -> str:
    """Returns a result's text, or as much of it as a model is given."""
    if len(text) <= MAX_RESULT_CHARS:
        return text
    return f"{text[:MAX_RESULT_CHARS]}\n[cut: the result has {len(text)} characters]"
