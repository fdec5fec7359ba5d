"""The SDK's spans of messages, made only where they are of use."""

from collections.abc import Iterable
from typing import Any

# The SDK gives it to each server and has no public name for it.
from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext

from shared.tracing import TRACE_FIELDS, records_spans


def without_idle_spans(middleware: Iterable[ServerMiddleware[Any]]) -> list[ServerMiddleware[Any]]:
    """Returns a server's middleware, with the one that makes spans asked only where it has to be.

    Args:
        middleware: Of a server as the SDK makes it.
    """
    return [
        SpansInUse(each) if isinstance(each, OpenTelemetryMiddleware) else each
        for each in middleware
    ]


class SpansInUse:
    """Makes the SDK's span of a message, where something records it or there is a trace to go on with.

    Without a recorder a span does nothing, and takes a tenth of the time of a short call.

    Args:
        make: The SDK's middleware that makes it.
    """

    def __init__(self, make: ServerMiddleware[Any]) -> None:
        self._make = make

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Handles one message."""
        if records_spans() or not TRACE_FIELDS.isdisjoint(ctx.meta or ()):
            return await self._make(ctx, call_next)
        return await call_next(ctx)
