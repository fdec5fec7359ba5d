"""What the Functions host keeps of what its worker logs, by the rules of both.

The worker sends each record with the id of an invocation: that of the task, else that of the context.
The host keeps the records of applications only of invocations that it has no response of yet.

Sources: `proxy_worker/dispatcher.py` of https://github.com/Azure/azure-functions-python-worker, and
`GrpcWorkerChannel.Log` of https://github.com/Azure/azure-functions-host.
"""

import asyncio
import logging
import sys
from typing import Any, TextIO

from azure_functions_runtime import invocation_id_cv

_TASK_ATTRIBUTE = "__azure_function_invocation_id__"
_SYSTEM = ("azure.functions", "azure_functions_worker", "azure_functions_runtime", "proxy_worker")
"""Loggers whose records the host keeps without an invocation."""


class ContextEnabledTask(asyncio.Task[Any]):
    """The worker's task: it has the invocation of the task that started it."""

    def __init__(self, coro: Any, **options: Any) -> None:
        super().__init__(coro, **options)
        started_by = asyncio.current_task()
        if (invocation_id := getattr(started_by, _TASK_ATTRIBUTE, None)) is not None:
            self.set_invocation_id(invocation_id)

    def set_invocation_id(self, invocation_id: str) -> None:
        """Makes this, and the tasks that it starts, part of an invocation."""
        setattr(self, _TASK_ATTRIBUTE, invocation_id)


def make_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> ContextEnabledTask:
    """Makes a task of the worker; a task factory."""
    return ContextEnabledTask(coro, loop=loop, **options)


class HostLog(logging.StreamHandler[TextIO]):
    """Writes records to the standard error, each with what the host makes of it.

    Attributes:
        executing: The invocations without a response, and a name for each.
    """

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.executing: dict[str, str] = {}

    def format(self, record: logging.LogRecord) -> str:
        """Returns ``kept[NAME]``, ``system`` or ``lost``, the level, the logger and the message."""
        name = self.executing.get(task_invocation_id() or invocation_id_cv.get() or "")
        is_system = record.name.startswith(_SYSTEM)
        fate = f"kept[{name}]" if name is not None else "system" if is_system else "lost"
        return f"{fate} {record.levelname} {record.name} {super().format(record)}"


def task_invocation_id() -> str | None:
    """Returns the invocation that the current task is a part of."""
    task = asyncio.current_task() if asyncio._get_running_loop() else None
    invocation_id: str | None = getattr(task, _TASK_ATTRIBUTE, None)
    return invocation_id
