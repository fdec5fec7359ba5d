"""Runs of tasks: tool calls that continue in the background after the task was returned."""

import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from time import monotonic

from shared.context import CallContext, CallUsage, ReportProgress
from shared.deadline import Deadline, time_limit
from shared.errors import Conflict, GatewayError, NotFound
from shared.mcp_server.tasks.records import TaskRecord, TaskRecords
from shared.storage import Renewal, Storage, find_media, keep_retrying
from shared.telemetry import RequestRecord, current_record, level_of, recording
from shared.tools import JsonObject, ToolRegistry, ToolResult

LAST_WRITE_SECONDS = 30.0
"""How long a result is tried to be written while storage fails."""

logger = logging.getLogger(__name__)


class TaskRunner:
    """Runs the calls of tasks on this instance.

    Args:
        registry: The tools.
        storage: Its background holds the runs, and is waited for when the app ends.
        records: Where results go.
    """

    def __init__(self, registry: ToolRegistry, storage: Storage, records: TaskRecords) -> None:
        self._registry = registry
        self._storage = storage
        self._records = records
        self._running: dict[str, CallUsage] = {}

    @property
    def count(self) -> int:
        """How many runs there are."""
        return len(self._running)

    def is_running(self, task_id: str) -> bool:
        """Returns whether a task runs here."""
        return task_id in self._running

    def stop(self, task_id: str) -> None:
        """Keeps a run from asking the provider, where it runs here and has not asked yet."""
        if usage := self._running.get(task_id):
            usage.stop()

    async def start(self, task: TaskRecord, context: CallContext) -> None:
        """Starts a run, with as much time as the request had that asks for it.

        Args:
            task: The stored task.
            context: Of that request, inside of its scope.
        """
        usage = self._running[task.id] = CallUsage()
        its_context = replace(
            context,
            deadline=Deadline.after(context.deadline.budget),
            report_progress=self._reporter(context.principal.name, task.id),
            idempotency_key=task.key,
            usage=usage,
            kept_media={},
            keeps_media=False,
        )
        await self._storage.background.finish(self._run(task, its_context), seconds=0)

    async def _run(self, task: TaskRecord, context: CallContext) -> None:
        record, started = RequestRecord(current_record().request_id), monotonic()
        renewal = Renewal(self._heartbeat(task, context), self._storage.timing.renewal)
        try:
            with recording(record):
                result = await self._call(task, context)
            await self._end(task, result, context)
        finally:
            renewal.stop()
            await renewal.wait()
            del self._running[task.id]
            _log(task, record, context, monotonic() - started)

    async def _call(self, task: TaskRecord, context: CallContext) -> ToolResult:
        try:
            async with context.scope():
                result = await self._registry.call(task.tool, task.arguments, context)
        except GatewayError as error:
            result = ToolResult(error.detail, is_error=True, failure=error.failure)
        if result.failure is not None:
            current_record().fail(result.failure, task.tool)
        return result

    async def _end(self, task: TaskRecord, result: ToolResult, context: CallContext) -> None:
        """Stores the result, or the job that the call has ordered."""
        job, made = self._registry.get(task.tool).traits.job, result.structured
        job_id = made["id"] if job and made and "retry_after" in made else None
        # Another run with the same key goes on, and this task is taken up once that has ended.
        is_held = result.failure is not None and result.failure.code == Conflict.code

        def end(stored: TaskRecord) -> TaskRecord:
            if stored.status == "cancelled":
                return stored.updated(message=_kept(result, job_id), job_id=job_id)
            if stored.has_ended or is_held:
                return stored
            if job_id is not None:
                return stored.updated(message="Ordered from the provider.", job_id=job_id)
            return stored.completed(result)

        async with time_limit(LAST_WRITE_SECONDS):
            with keep_retrying():
                await self._records.change(context.principal.name, task.id, end)

    def _heartbeat(self, task: TaskRecord, context: CallContext) -> Callable[[], Awaitable[bool]]:
        """Returns what writes the task again, so that others see that its run goes on."""

        def beat(stored: TaskRecord) -> TaskRecord:
            is_ours = not stored.has_ended and stored.runs == task.runs
            return stored.model_copy() if is_ours else stored

        async def renew() -> bool:
            try:
                seen = await self._records.change(context.principal.name, task.id, beat)
            except NotFound:
                return False
            except GatewayError as error:
                logger.warning("The heartbeat of a task was not written: %s", error.code)
                return True
            if seen.status == "cancelled":
                context.usage.stop()
            return not seen.has_ended and seen.runs == task.runs

        return renew

    def _reporter(self, principal: str, task_id: str) -> ReportProgress:
        async def report(progress: float, total: float | None, message: str | None) -> None:
            def tell(stored: TaskRecord) -> TaskRecord:
                return stored if stored.has_ended else stored.updated(message=message)

            if message is not None:
                with suppress(GatewayError):
                    await self._records.change(principal, task_id, tell)

        return report


def _kept(result: ToolResult, job_id: str | None) -> str:
    """Returns what a cancelled task says of what its call has made all the same."""
    if job_id is not None:
        return f"Cancelled after it was ordered: job {job_id} goes on, and its result is kept."
    made = ", ".join(f"media://{media['id']}" for media in find_media(result.structured))
    if not made:
        return "Cancelled before anything was made."
    return f"Cancelled after it was ordered; kept is {made}."


def _log(task: TaskRecord, record: RequestRecord, context: CallContext, seconds: float) -> None:
    line: JsonObject = {
        "request_id": record.request_id,
        "duration_ms": round(seconds * 1000, 1),
        "principal": context.principal.name,
        "runs": task.runs,
        **record.fields(),
    }
    logger.log(level_of(record.outcome), "task %s", json.dumps(line))
