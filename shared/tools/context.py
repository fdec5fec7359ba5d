"""What a tool may know of the call that it serves."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from shared.auth import Principal
from shared.deadline import Deadline
from shared.storage import Operation

ReportProgress = Callable[[float, float | None, str | None], Awaitable[None]]
"""Takes the progress, the total where it is known, and a sentence on what is being done."""


async def discard_progress(progress: float, total: float | None, message: str | None) -> None:
    """Reports to nobody: for callers who cannot be told before the result."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Who calls, until when, and how to report progress; nothing of HTTP, MCP or the agent.

    Attributes:
        principal: Who is calling.
        deadline: The budget of the request that the call belongs to.
        report_progress: Tells the caller how far the tool has come.
        idempotency_key: What the caller calls this request, so that a repeat is not paid for twice.
        operation: Gives ids to what the call stores.
    """

    principal: Principal
    deadline: Deadline
    report_progress: ReportProgress = discard_progress
    idempotency_key: str | None = None
    operation: Operation = field(default_factory=Operation.begin)
