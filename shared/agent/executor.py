"""Executes the tool calls that the model asks for, and tells the caller as it happens."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from time import monotonic
from typing import Any

from shared.agent.buffer import EventBuffer
from shared.agent.calls import decode_arguments, text_for_model
from shared.agent.events import ToolCallRecord, ToolCallStarted, ToolFinished, ToolProgressed
from shared.agent.run import ChatRun
from shared.context import CallContext
from shared.errors import DeadlineExceeded
from shared.openai_service import ToolCall
from shared.parallel import gather_limited
from shared.selection import ToolSelection
from shared.strict_json import MAX_DEPTH
from shared.telemetry import current_record
from shared.tools import ToolRegistry, ToolResult
from shared.tracing import tool_span

MAX_CALLS = 32
"""Maximum tool calls run per answer of the model."""

MAX_PAID_CALLS = 8
"""Maximum calls of paid tools per chat request."""

MAX_PARALLEL_CALLS = 8
MAX_PROGRESS_CHARS = 1000
LAST_WORDS_SECONDS = 20.0
"""Seconds of the request's budget kept from tools, so that the model can still answer."""

MAX_RESERVED_SHARE = 0.25
"""Maximum share of a short budget that is kept from tools."""

_TOO_MANY = (
    f"Not run: of one answer at most {MAX_CALLS} tool calls are run. "
    "Make the others in the next one."
)
_TOO_MUCH = (
    f"Not run: this message has used its limit of {MAX_PAID_CALLS} paid tool calls. "
    "Answer with what you have, and say what is missing: the user can ask again."
)


class ToolExecutor:
    """Executes the tool calls of one run, stores their results and tells the caller.

    Args:
        selection: The tools that may be called.
        run: Stores the results, and sends them to the model.
        buffer: Takes the events.
        context: The call that the run is.
        timeout: Maximum seconds of one tool call.
    """

    def __init__(
        self,
        selection: ToolSelection,
        run: ChatRun,
        buffer: EventBuffer,
        context: CallContext,
        timeout: float,
    ) -> None:
        self._selection = selection
        self._run = run
        self._buffer = buffer
        self._context = context
        self._timeout = timeout
        self._counts: Counter[str] = Counter()
        self._paid_calls = 0

    async def execute(self, calls: Sequence[ToolCall]) -> None:
        """Executes the calls of one answer together, at most eight at a time.

        Calls beyond the limits are refused: the model reads so in place of their results. Cancelling
        this cancels the calls.

        Raises:
            Conflict: Another request has taken the conversation over, or deleted it.
            StorageUnavailable: A result is not stored.
        """
        accepted, refused = self._divide(calls)
        await self._run.add_results(*(finished for _, finished in refused))
        for events in refused:
            for event in events:
                self._buffer.put(event)
        await gather_limited(
            MAX_PARALLEL_CALLS, [self._execute(call, self._context_of(call)) for call in accepted]
        )
        await self._buffer.room()

    def _divide(
        self, calls: Sequence[ToolCall]
    ) -> tuple[Sequence[ToolCall], Sequence[tuple[ToolCallStarted, ToolFinished]]]:
        """Returns the calls that may run, and the events of those that may not."""
        accepted: list[ToolCall] = []
        refused: list[tuple[ToolCallStarted, ToolFinished]] = []
        for call in calls:
            if len(accepted) == MAX_CALLS:
                refused.append(_refusal(call, _TOO_MANY))
            elif not self._selection.is_paid(call.name):
                accepted.append(call)
            elif self._paid_calls == MAX_PAID_CALLS:
                refused.append(_refusal(call, _TOO_MUCH))
            else:
                self._paid_calls += 1
                accepted.append(call)
        return accepted, refused

    def _context_of(self, call: ToolCall) -> CallContext:
        """Returns the context of a call.

        A request that is run again after its instance died finds the results that its calls have stored
        and paid for. Of equal calls the first, the second and so on are different ones.
        """
        context = self._context
        purpose = f"{call.name}\n{call.arguments}"
        self._counts[purpose] += 1
        purpose += f"\n{self._counts[purpose]}"
        key = context.idempotency_key
        if key is not None:
            key = hashlib.sha256(f"{key}\n{purpose}".encode()).hexdigest()
        return replace(context, idempotency_key=key)

    async def _execute(self, call: ToolCall, context: CallContext) -> None:
        started = monotonic()
        arguments = decode_arguments(call.arguments)
        self._buffer.put(ToolCallStarted(call.id, call.name, arguments))

        async def report(progress: float, total: float | None, message: str | None) -> None:
            # Another server's words may be of any length.
            told = None if message is None else message[:MAX_PROGRESS_CHARS]
            self._buffer.put(ToolProgressed(call.id, progress, total, told))

        result = await self._call(call.name, arguments, replace(context, report_progress=report))
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
        is_own = isinstance(self._selection.find(call.name), ToolRegistry)
        finished = ToolFinished(call.id, record, text_for_model(result), is_own)
        await self._run.add_results(finished)
        self._buffer.put(finished)

    async def _call(
        self, name: str, arguments: dict[str, Any] | str, context: CallContext
    ) -> ToolResult:
        toolset = self._selection.find(name)
        if toolset is None:
            names = ", ".join(self._selection.names) or "none"
            return ToolResult(f"There is no tool '{name}'. The tools are: {names}.", is_error=True)
        if isinstance(arguments, str):
            return ToolResult(
                f"The arguments are not a JSON object, or have more than {MAX_DEPTH} levels or too many "
                "values. Call the tool again with valid JSON.",
                is_error=True,
            )
        # A tool that hangs leaves the model time to say so.
        remaining = context.deadline.remaining()
        reserve = min(LAST_WORDS_SECONDS, remaining * MAX_RESERVED_SHARE)
        deadline = context.deadline.within(min(self._timeout, remaining - reserve))
        context = replace(context, deadline=deadline)
        try:
            async with context.scope():
                with nullcontext() if isinstance(toolset, ToolRegistry) else tool_span(name):
                    return await toolset.call(name, arguments, context)
        except DeadlineExceeded as error:
            return ToolResult(
                f"The tool '{name}' did not finish within {deadline.budget:.0f} seconds.",
                is_error=True,
                failure=error.failure if isinstance(toolset, ToolRegistry) else None,
            )


def _refusal(call: ToolCall, reason: str) -> tuple[ToolCallStarted, ToolFinished]:
    arguments = decode_arguments(call.arguments)
    record = ToolCallRecord(
        name=call.name, arguments=arguments, result=reason, is_error=True, duration_ms=0
    )
    return ToolCallStarted(call.id, call.name, arguments), ToolFinished(call.id, record, reason)
