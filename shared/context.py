"""Who calls, until when, and how to report progress: one object for each call."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from shared.auth import Principal
from shared.deadline import Deadline
from shared.storage import Operation

ReportProgress = Callable[[float, float | None, str | None], Awaitable[None]]
"""Takes the progress, the total where it is known, and a sentence on what is being done."""


async def discard_progress(progress: float, total: float | None, message: str | None) -> None:
    """Reports to nobody: for callers who cannot be told before the result."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call may know of its caller; nothing of HTTP, MCP or the agent.

    Attributes:
        principal: Who is calling.
        deadline: When the call's budget is used up.
        report_progress: Tells the caller how far the call has come.
        idempotency_key: What the caller calls this request, so that a repeat is not paid for twice.
        operation: Gives ids to what the call stores.
    """

    principal: Principal
    deadline: Deadline
    report_progress: ReportProgress = discard_progress
    idempotency_key: str | None = None
    operation: Operation = field(default_factory=Operation.begin)

    def scope(self) -> AbstractAsyncContextManager[None]:
        """Returns the block in which the call runs: it is cancelled when the deadline is over.

        Whoever lets a call in opens it: the HTTP route, the MCP handler, the agent for a tool call, and
        the task of work that goes on without its caller. What runs in it takes no deadline.

        Raises:
            DeadlineExceeded: On leaving the block, because it did not end in time.
        """
        return self.deadline.scope()
