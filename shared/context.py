"""The context of a call: principal, deadline, progress, idempotency key, and its scope."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace

from starlette.types import Receive

from shared.auth import Principal
from shared.deadline import Deadline
from shared.disconnect import cancel_on_disconnect
from shared.model_access import limit_models
from shared.storage import Operation

ReportProgress = Callable[[float, float | None, str | None], Awaitable[None]]
"""Takes the progress, the total where it is known, and a message."""


async def discard_progress(progress: float, total: float | None, message: str | None) -> None:
    """Discards progress, for callers who get nothing before the result."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """The context of one call; it knows nothing of HTTP, MCP or the agent.

    Attributes:
        principal: The principal who calls.
        deadline: The moment at which the call is cancelled.
        report_progress: Reports progress to the caller.
        idempotency_key: The caller's Idempotency-Key: a repeat returns the first result, unpaid.
        operation: Gives ids to what the call stores.
    """

    principal: Principal
    deadline: Deadline
    report_progress: ReportProgress = discard_progress
    idempotency_key: str | None = None
    operation: Operation = field(default_factory=Operation.begin)

    @asynccontextmanager
    async def scope(self, receive: Receive | None = None) -> AsyncIterator[None]:
        """Cancels the block when the deadline is over or the caller disconnects.

        Whoever lets a call in opens it: the HTTP route, the MCP handler, the agent for a tool call, and
        the task of a detached call. What runs in it takes no deadline and watches no client.

        Args:
            receive: Tells of the disconnect; None where the call goes on without its caller, or where
                something else cancels the block.

        Raises:
            DeadlineExceeded: On leaving the block, because it did not end in time.
            ClientDisconnect: On leaving the block, because the caller has disconnected.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(limit_models(self.principal.models))
            await stack.enter_async_context(self.deadline.scope())
            if receive is not None:
                await stack.enter_async_context(cancel_on_disconnect(receive))
            yield

    @contextmanager
    def detached(self) -> Iterator["CallContext"]:
        """Returns the context of the same call in a task that goes on without its caller.

        Progress reaches the caller only while the block runs, and that it cannot be delivered does not
        end the call.
        """
        is_waiting = True

        async def report(progress: float, total: float | None, message: str | None) -> None:
            if is_waiting:
                with suppress(Exception):
                    await self.report_progress(progress, total, message)

        try:
            yield replace(self, report_progress=report)
        finally:
            is_waiting = False
