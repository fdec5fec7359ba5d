"""To-do tools: a list of tasks for each user, in one document that several chats may change at once."""

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from pydantic import Field
from typing_extensions import TypedDict

from shared.context import CallContext
from shared.errors import InvalidRequest, NotFound
from shared.storage import Record, Records, Storage, owner_key
from shared.tools.tool import tool

MAX_TASKS = 1000
MAX_TITLE_CHARS = 200
MAX_DESCRIPTION_CHARS = 2000

ResultT = TypeVar("ResultT")

Title = Annotated[str, Field(min_length=1, max_length=MAX_TITLE_CHARS, pattern=r"\S")]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION_CHARS)]
TaskId = Annotated[str, Field(min_length=1, max_length=100)]
StatusFilter = Literal["all", "pending", "completed"]


class TaskChange(TypedDict):
    """Result of the tools that change a task."""

    task_id: str
    status: Literal["created", "completed", "updated", "deleted"]
    title: str


class TaskItem(TypedDict):
    """A task of a list."""

    id: str
    title: str
    description: str
    completed: bool


class TaskList(TypedDict):
    """Result of `TaskTools.list_tasks`."""

    tasks: list[TaskItem]
    count: int
    filter: StatusFilter


class _TaskRecord(Record):
    tasks: list[TaskItem] = Field(default_factory=list)

    def find(self, task_id: str) -> TaskItem:
        for task in self.tasks:
            if task["id"] == task_id:
                return task
        raise NotFound(f"There is no task '{task_id}'. list_tasks tells the ids.")


class TaskTools:
    """Tools that keep a to-do list for each principal.

    Args:
        storage: The storage of the lists.
    """

    def __init__(self, storage: Storage) -> None:
        self._records = Records(storage.state, _TaskRecord)

    @tool(title="Add task", open_world=False, idempotent_by_key=True)
    async def add_task(
        self, context: CallContext, title: Title, description: Description = ""
    ) -> TaskChange:
        """Adds a task to the caller's to-do list.

        Args:
            title: What to do, in up to 200 characters.
            description: More about it, up to 2,000 characters.
        """
        task = TaskItem(
            id=context.operation.short_id("task"),
            title=title,
            description=description,
            completed=False,
        )

        created = TaskChange(task_id=task["id"], status="created", title=title)

        def add(record: _TaskRecord) -> TaskChange:
            if any(earlier["id"] == task["id"] for earlier in record.tasks):
                # An earlier run has added it, and died before it could say so.
                return created
            if len(record.tasks) >= MAX_TASKS:
                complaint = f"the list is full with {MAX_TASKS} tasks; delete some with delete_task"
                raise InvalidRequest.for_field("title", complaint)
            record.tasks.append(task)
            return created

        return await self._change(context, add)

    @tool(title="List tasks", read_only=True, idempotent=True, open_world=False)
    async def list_tasks(self, context: CallContext, status: StatusFilter = "all") -> TaskList:
        """Shows the caller's to-do list, oldest task first.

        Args:
            status: Which tasks to show.
        """
        stored = await self._records.find(_name(context))
        tasks = [
            task
            for task in (stored.record.tasks if stored else [])
            if status == "all" or task["completed"] == (status == "completed")
        ]
        return {"tasks": tasks, "count": len(tasks), "filter": status}

    @tool(title="Complete task", idempotent=True, open_world=False)
    async def complete_task(self, context: CallContext, task_id: TaskId) -> TaskChange:
        """Marks a task of the caller's to-do list as done.

        Args:
            task_id: Id from add_task or list_tasks.
        """

        def complete(record: _TaskRecord) -> TaskChange:
            task = record.find(task_id)
            task["completed"] = True
            return {"task_id": task_id, "status": "completed", "title": task["title"]}

        return await self._change(context, complete)

    @tool(title="Update task", idempotent=True, open_world=False)
    async def update_task(
        self,
        context: CallContext,
        task_id: TaskId,
        title: Title | None = None,
        description: Description | None = None,
    ) -> TaskChange:
        """Changes the title or the description of a task of the caller's to-do list.

        Args:
            task_id: Id from add_task or list_tasks.
            title: The new title; default: as it was.
            description: The new description; default: as it was.
        """
        if title is None and description is None:
            raise InvalidRequest.for_field("title", "give a new title, a new description, or both")

        def update(record: _TaskRecord) -> TaskChange:
            task = record.find(task_id)
            task["title"] = task["title"] if title is None else title
            task["description"] = task["description"] if description is None else description
            return {"task_id": task_id, "status": "updated", "title": task["title"]}

        return await self._change(context, update)

    @tool(title="Delete task", destructive=True, idempotent=True, open_world=False)
    async def delete_task(self, context: CallContext, task_id: TaskId) -> TaskChange:
        """Deletes a task from the caller's to-do list.

        Args:
            task_id: Id from add_task or list_tasks.
        """

        def delete(record: _TaskRecord) -> TaskChange:
            task = record.find(task_id)
            record.tasks.remove(task)
            return {"task_id": task_id, "status": "deleted", "title": task["title"]}

        return await self._change(context, delete)

    async def _change(
        self, context: CallContext, make: Callable[[_TaskRecord], ResultT]
    ) -> ResultT:
        return await self._records.change(_name(context), make, default=_TaskRecord)


def _name(context: CallContext) -> str:
    return f"tasks/{owner_key(context.principal.name)}.json"
