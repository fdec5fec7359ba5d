"""Records of tasks: long tool calls whose callers poll for the result.

A task is one record that every instance reads. The instance that runs its call writes the record again
and again, so that a record that nobody writes tells that the instance is gone. The call itself has an
idempotency key: another run of it finds what the first one stored, and its result.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import ConfigDict

from shared.errors import Failure, NotFound, Outcome, cut_text
from shared.storage import (
    ObjectExists,
    ObjectMissing,
    Record,
    Records,
    Storage,
    Versioned,
    is_id,
    made_at,
    owner_key,
)
from shared.tools import JsonObject, ToolResult

TTL = timedelta(days=1)
"""How long a task can be asked for: less than the results of idempotency keys are kept."""

MAX_MESSAGE_CHARS = 500

TaskStatus = Literal["working", "completed", "failed", "cancelled"]


class TaskRecord(Record):
    """What is stored of a task.

    Attributes:
        id: Its id, which holds the time of its making.
        tool: The tool that is called.
        arguments: Its arguments.
        key: The idempotency key of the call.
        status: By the words of the protocol.
        message: How far it is or why it ended, for people.
        updated_at: When status or message changed last.
        runs: How often the call was begun; more than once where an instance died.
        job_id: The job that the call has ordered, where its tool orders one.
        result: The structured result.
        error: What the tool says of its failure; the reason where the task itself failed.
        code: The code of the failure, for the log.
        outcome: Who is to blame for it, for the log.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    tool: str
    arguments: JsonObject
    key: str
    status: TaskStatus = "working"
    message: str
    updated_at: datetime
    runs: int = 1
    job_id: str | None = None
    result: JsonObject | None = None
    error: str | None = None
    code: str | None = None
    outcome: Outcome = "ok"

    @property
    def has_ended(self) -> bool:
        """Whether its status is final."""
        return self.status != "working"

    def updated(self, **changes: Any) -> "TaskRecord":
        """Returns the task with changes of now."""
        return self.model_copy(update={"updated_at": datetime.now(UTC), **changes})

    def completed(self, result: ToolResult) -> "TaskRecord":
        """Returns the task with the result of its call."""
        failure = result.failure or Failure(None, "ok")
        return self.updated(
            status="completed",
            message=cut_text(result.text, MAX_MESSAGE_CHARS) if result.is_error else "Completed.",
            result=result.structured,
            error=result.text if result.is_error else None,
            code=failure.code,
            outcome=failure.outcome,
        )


class TaskRecords:
    """The tasks of all principals.

    Args:
        storage: Where they are.
    """

    def __init__(self, storage: Storage) -> None:
        self._records = Records(storage.state, TaskRecord)

    async def add(self, principal: str, task: TaskRecord) -> TaskRecord:
        """Stores a new task, and returns it, or the one that an earlier request has stored."""
        try:
            await self._records.create(_name(principal, task.id), task)
        except ObjectExists:
            return (await self.get(principal, task.id)).record
        return task

    async def get(self, principal: str, task_id: str) -> Versioned[TaskRecord]:
        """Returns a task.

        Raises:
            NotFound: The principal has none of that id, or its time is over.
        """
        if is_id(task_id) and datetime.now(UTC) - made_at(task_id) < TTL:
            try:
                return await self._records.get(_name(principal, task_id))
            except ObjectMissing:
                pass
        raise NotFound("There is no task of this taskId, or the time of its ttlMs is over.")

    async def change(
        self, principal: str, task_id: str, make: Callable[[TaskRecord], TaskRecord]
    ) -> TaskRecord:
        """Changes a task, and returns it as it then is.

        Args:
            principal: Whose it is.
            task_id: The task.
            make: Returns the changed task, or the one that it was given where it is to stay unwritten.
                It may be called several times.

        Raises:
            NotFound: The principal has none of that id, or its time is over.
            Conflict: Others were faster every time.
        """

        async def attempt() -> TaskRecord:
            stored = await self.get(principal, task_id)
            changed = make(stored.record)
            if changed is stored.record:
                return changed
            return (await self._records.replace(stored, changed)).record

        return await self._records.compete(_name(principal, task_id), attempt)


def _name(principal: str, task_id: str) -> str:
    return f"mcp-tasks/{owner_key(principal)}/{task_id}.json"
