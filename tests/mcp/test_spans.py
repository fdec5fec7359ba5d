"""Which of the SDK's middleware a server keeps as it is."""

from typing import Any

from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server

from shared.mcp_server.spans import SpansInUse, without_idle_spans


async def another(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    return await call_next(ctx)


def test_sdk_gives_a_server_one_middleware_that_makes_spans() -> None:
    middleware = Server[Any]("fixture").middleware
    assert [type(each) for each in middleware] == [OpenTelemetryMiddleware]
    assert [type(each) for each in without_idle_spans(middleware)] == [SpansInUse]


def test_other_middleware_of_the_sdk_stays_in_its_place() -> None:
    first, last = another, SpansInUse(another)
    kept = without_idle_spans([first, OpenTelemetryMiddleware(), last])
    assert (kept[0], kept[2]) == (first, last)
