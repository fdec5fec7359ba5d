"""Runs the tool calls of one turn together and reports what happens as it happens."""

import asyncio
import hashlib
import json
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, cast

from shared.agent.buffer import EventBuffer
from shared.agent.events import ToolCallRecord, ToolCallStarted, ToolFinished, ToolProgressed
from shared.agent.offer import ToolOffer
from shared.context import CallContext
from shared.errors import DeadlineExceeded, InvalidRequest
from shared.openai_service import ToolCall, repair_surrogates
from shared.strict_json import MAX_DEPTH, check_limits, check_size
from shared.telemetry import current_record
from shared.tools import ToolRegistry, ToolResult

logger = logging.getLogger(__name__)

MAX_CALLS = 32
"""Maximum tool calls run per answer of the model."""

MAX_PAID_CALLS = 8
"""Maximum calls of paid tools per chat request."""

MAX_PARALLEL_CALLS = 8
MAX_PROGRESS_CHARS = 1000
MAX_RESULT_CHARS = 100_000
LAST_WORDS_SECONDS = 20.0
"""Seconds of the request's budget kept from tools, so that the model can still answer."""

MAX_RESERVED_SHARE = 0.25
"""Maximum share of a short budget that is kept from tools."""

CallEvent = ToolCallStarted | ToolProgressed | ToolFinished

_TOO_MANY = (
    f"Not run: of one answer at most {MAX_CALLS} tool calls are run. "
    "Make the others in the next one."
)
_TOO_MUCH = (
    f"Not run: this message has used its limit of {MAX_PAID_CALLS} paid tool calls. "
    "Answer with what you have, and say what is missing: the user can ask again."
)


class CallRunner:
    """Runs the tool calls of one request, turn by turn.

    Args:
        offer: The tools that may be called.
        context: Who asks.
        timeout: How long one call may take, in seconds.
    """

    def __init__(self, offer: ToolOffer, context: CallContext, timeout: float) -> None:
        self._offer = offer
        self._timeout = timeout
        self._context = context
        self._counts: Counter[str] = Counter()
        self._paid_calls = 0

    def refuse(
        self, calls: Sequence[ToolCall]
    ) -> tuple[Sequence[ToolCall], Sequence[tuple[ToolCallStarted, ToolFinished]]]:
        """Returns the calls that may run, and what the model is told instead of the others' results."""
        accepted: list[ToolCall] = []
        refused: list[tuple[ToolCallStarted, ToolFinished]] = []
        for call in calls:
            if len(accepted) == MAX_CALLS:
                refused.append(_refusal(call, _TOO_MANY))
            elif not self._offer.is_paid(call.name):
                accepted.append(call)
            elif self._paid_calls == MAX_PAID_CALLS:
                refused.append(_refusal(call, _TOO_MUCH))
            else:
                self._paid_calls += 1
                accepted.append(call)
        return accepted, refused

    async def run(self, calls: Sequence[ToolCall]) -> AsyncGenerator[CallEvent, None]:
        """Yields each event of the calls.

        At most eight calls run at a time. Closing the generator cancels those that still run.
        """
        buffer = EventBuffer()
        places = asyncio.Semaphore(MAX_PARALLEL_CALLS)

        async def run(call: ToolCall, context: CallContext) -> None:
            try:
                async with places:
                    await _run_call(call, self._offer, context, buffer, self._timeout)
            except Exception as error:  # noqa: BLE001  # Raised again in the task that reads the buffer.
                buffer.close(error)

        tasks = [asyncio.create_task(run(call, self._context_of(call))) for call in calls]
        unfinished = len(tasks)
        try:
            while unfinished:
                event = await anext(buffer)
                unfinished -= isinstance(event, ToolFinished)
                yield cast(CallEvent, event)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _context_of(self, call: ToolCall) -> CallContext:
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


async def _run_call(
    call: ToolCall, offer: ToolOffer, context: CallContext, buffer: EventBuffer, seconds: float
) -> None:
    started = monotonic()
    arguments = decode_arguments(call.arguments)
    buffer.put(ToolCallStarted(call.id, call.name, arguments))

    async def report(progress: float, total: float | None, message: str | None) -> None:
        # Another server's words may be of any length.
        told = None if message is None else message[:MAX_PROGRESS_CHARS]
        buffer.put(ToolProgressed(call.id, progress, total, told))

    result = await _call_in_time(
        call.name, arguments, offer, replace(context, report_progress=report), seconds
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
    is_own = isinstance(offer.find(call.name), ToolRegistry)
    buffer.put(ToolFinished(call.id, record, _for_model(result), is_own))


def _refusal(call: ToolCall, reason: str) -> tuple[ToolCallStarted, ToolFinished]:
    arguments = decode_arguments(call.arguments)
    record = ToolCallRecord(
        name=call.name, arguments=arguments, result=reason, is_error=True, duration_ms=0
    )
    return ToolCallStarted(call.id, call.name, arguments), ToolFinished(call.id, record, reason)


async def _call_in_time(
    name: str,
    arguments: dict[str, Any] | str,
    offer: ToolOffer,
    context: CallContext,
    seconds: float,
) -> ToolResult:
    # A tool that hangs is not to take the time in which the model can say so.
    remaining = context.deadline.remaining()
    reserve = min(LAST_WORDS_SECONDS, remaining * MAX_RESERVED_SHARE)
    deadline = context.deadline.within(min(seconds, remaining - reserve))
    try:
        async with deadline.scope():
            return await _call(name, arguments, offer, replace(context, deadline=deadline))
    except DeadlineExceeded as error:
        is_ours = isinstance(offer.find(name), ToolRegistry)
        return ToolResult(
            f"The tool '{name}' did not finish within {deadline.budget:.0f} seconds.",
            is_error=True,
            failure=error.failure if is_ours else None,
        )


async def _call(
    name: str, arguments: dict[str, Any] | str, offer: ToolOffer, context: CallContext
) -> ToolResult:
    toolset = offer.find(name)
    if toolset is None:
        names = ", ".join(offer.names) or "none"
        return ToolResult(f"There is no tool '{name}'. The tools are: {names}.", is_error=True)
    if isinstance(arguments, str):
        return ToolResult(
            f"The arguments are not a JSON object, or have more than {MAX_DEPTH} levels or too many "
            "values. Call the tool again with valid JSON.",
            is_error=True,
        )
    return await toolset.call(name, arguments, context)


def decode_arguments(arguments: str) -> dict[str, Any] | str:
    """Returns the arguments of a call, as the model wrote them where they are no JSON object.

    What is nested too deep, or has too many values, counts as none: it could not be stored, or sent on.
    """
    # Some providers send nothing at all for a tool without parameters.
    if not arguments.strip():
        return {}
    try:
        check_size(arguments.encode(errors="surrogatepass"))
        decoded = json.loads(arguments, parse_constant=_refuse_constant)
        check_limits(decoded)
    except (ValueError, RecursionError, InvalidRequest):
        return arguments
    if not isinstance(decoded, dict):
        return arguments
    if "\\u" not in arguments:
        return decoded
    mended: dict[str, Any] = json.loads(repair_surrogates(json.dumps(decoded, ensure_ascii=False)))
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
