"""Tasks: long tool calls whose callers poll for the result.

Any instance begins them and answers for them. Whoever asks for a task whose run nobody continues takes
it up, once: the call has an idempotency key, so that what the first run stored is found, and its result
is not paid for again. A task whose second run dies, too, has failed. A call that orders a job is over
with the order: from then on each look at the task is a look at the job.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from shared.context import CallContext
from shared.errors import Failure, NotFound
from shared.mcp_server.tasks.records import TaskRecord, TaskRecords
from shared.mcp_server.tasks.runner import TaskRunner
from shared.storage import IdempotencyStore, Operation, Storage
from shared.telemetry import current_record
from shared.tools import Job, JsonObject, ToolRegistry, ToolResult

MAX_RUNNING = 50
"""Runs of one instance. Above, calls are answered without a task: the host limits how many there are."""

MAX_RUNS = 2
POLL_SECONDS = 3.0
INTERRUPTED = (
    "The instances that ran the call have died. What the provider had made by then may have been paid "
    "for. Call the tool again."
)


@dataclass(frozen=True, slots=True)
class Look:
    """A task as it is.

    Attributes:
        task: The task.
        poll_seconds: After which another look may show something new.
    """

    task: TaskRecord
    poll_seconds: float = POLL_SECONDS


class Tasks:
    """The tasks of all principals.

    Args:
        registry: The tools.
        storage: Where tasks are.
    """

    def __init__(self, registry: ToolRegistry, storage: Storage) -> None:
        self._registry = registry
        self._storage = storage
        self._records = TaskRecords(storage)
        self._idempotency = IdempotencyStore(storage)
        self._runner = TaskRunner(registry, storage, self._records)

    def may_begin(self, tool: str) -> bool:
        """Returns whether calls of a tool become tasks here and now."""
        try:
            takes_long = self._registry.get(tool).traits.takes_long
        except NotFound:
            return False
        return takes_long and self._storage.is_configured and self._runner.count < MAX_RUNNING

    async def begin(
        self, tool: str, arguments: JsonObject, context: CallContext
    ) -> TaskRecord | None:
        """Begins a task; with the idempotency key of an earlier one, returns that.

        Args:
            tool: The tool.
            arguments: Its arguments.
            context: Of the call, inside of its scope.

        Returns:
            The task, which is stored; None where the time of the earlier one is over.

        Raises:
            InvalidRequest: The arguments are wrong.
            GatewayError: Storage failed, or the key was used for something else.
        """
        checked = self._registry.get(tool).check(arguments)
        owner, key = context.principal.name, context.idempotency_key
        if key is None:
            return await self._add(Operation.begin(), tool, arguments, context)
        request = f"{tool} {checked.model_dump_json(exclude_unset=True)}".encode()
        async with self._idempotency.claim(owner, key, request, purpose="task") as claim:
            if not claim.is_done:
                task = await self._add(claim.operation, tool, arguments, context)
                claim.result = task.id
                return task
        try:
            return (await self._records.get(owner, str(claim.result))).record
        except NotFound:
            return None

    async def look(self, task_id: str, context: CallContext) -> Look:
        """Returns a task as it is now; takes its run up where nobody continues it.

        Raises:
            NotFound: The caller has none of that id, or its time is over.
            GatewayError: Storage failed.
        """
        stored = await self._records.get(context.principal.name, task_id)
        task = stored.record
        if task.has_ended:
            return Look(task)
        job = self._registry.get(task.tool).traits.job
        if task.job_id is not None and job is not None:
            return await self._look_at_job(task, task.job_id, job, context)
        is_alive = stored.age_seconds < self._storage.timing.lease
        if is_alive or self._runner.is_running(task_id):
            return Look(task)
        return Look(await self._take_up(task, context))

    async def result(self, task: TaskRecord, context: CallContext) -> ToolResult:
        """Returns the result of a completed task, with fresh links to its media.

        Raises:
            StorageUnavailable: The media cannot be looked up.
        """
        failure = Failure(task.code, task.outcome) if task.error is not None else None
        if task.result is None:
            return ToolResult(task.error or "", is_error=True, failure=failure)
        result = await self._registry.recall(task.tool, task.result, context)
        return replace(result, is_error=task.error is not None, failure=failure)

    async def check(self, task_id: str, context: CallContext) -> None:
        """Checks that the caller has a task.

        Raises:
            NotFound: The caller has none of that id, or its time is over.
            StorageUnavailable: It cannot be looked up.
        """
        await self._records.get(context.principal.name, task_id)

    async def cancel(self, task_id: str, context: CallContext) -> None:
        """Cancels a task that has not ended; what was ordered is paid for, and goes on.

        Raises:
            NotFound: The caller has none of that id, or its time is over.
            GatewayError: Storage failed.
        """
        task = await self._records.change(context.principal.name, task_id, _cancelled)
        if task.status == "cancelled":
            self._runner.stop(task_id)

    async def _add(
        self, operation: Operation, tool: str, arguments: JsonObject, context: CallContext
    ) -> TaskRecord:
        task_id = operation.id("task")
        task = TaskRecord(
            id=task_id,
            tool=tool,
            arguments=arguments,
            key=context.idempotency_key or f"mcp-task {task_id}",
            message="The call has begun.",
            updated_at=datetime.now(UTC),
        )
        added = await self._records.add(context.principal.name, task)
        if added is task:
            await self._runner.start(task, context)
        return added

    async def _take_up(self, seen: TaskRecord, context: CallContext) -> TaskRecord:
        is_ours = False

        def take(task: TaskRecord) -> TaskRecord:
            nonlocal is_ours
            is_ours = False
            if task.has_ended or task.job_id is not None or task.runs != seen.runs:
                return task
            if task.runs >= MAX_RUNS:
                return task.updated(status="failed", message=INTERRUPTED, error=INTERRUPTED)
            is_ours = True
            return task.updated(runs=task.runs + 1, message="The call has begun again.")

        task = await self._records.change(context.principal.name, seen.id, take)
        if is_ours:
            await self._runner.start(task, context)
        return task

    async def _look_at_job(
        self, task: TaskRecord, job_id: str, job: Job, context: CallContext
    ) -> Look:
        result = await self._registry.call(job.tool, {job.argument: job_id}, context)
        made, failure = result.structured, result.failure
        if made is not None and "retry_after" in made:
            message = f"The job is {made['status']}, at {made['progress']} %."
            return Look(task.updated(message=message), float(made["retry_after"]))
        if failure is not None:
            current_record().fail(failure, job.tool)
            if failure.code != NotFound.code:
                # The job goes on, though nobody can say how far it is.
                return Look(task.updated(message=result.text))
        if made is not None and "error" in made:
            failed = Failure(str(made["error"]["code"]), "provider_error")
            result = replace(result, is_error=True, failure=failed)

        def end(stored: TaskRecord) -> TaskRecord:
            return stored if stored.has_ended else stored.completed(result)

        return Look(await self._records.change(context.principal.name, task.id, end))


def _cancelled(task: TaskRecord) -> TaskRecord:
    if task.has_ended:
        return task
    message = "Cancelled. What had been ordered by then goes on, and is kept among your media."
    if task.job_id is not None:
        message = f"Cancelled. Job {task.job_id} was ordered before: it goes on, and is kept."
    return task.updated(status="cancelled", message=message)
