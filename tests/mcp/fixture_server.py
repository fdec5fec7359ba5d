"""A server that is not ours, with one tool that works until the test lets it finish, and its host."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.server import LOOPBACK, LoopbackServer
from shared.asgi import AsgiResponse
from shared.mcp_server import McpEndpoint


class Work:
    """The calls of the tool ``work``, as the test sees and steers them.

    The server runs on the event loop of the test, so that both may share these.
    """

    def __init__(self) -> None:
        self.has_begun = asyncio.Event()
        self.may_finish = asyncio.Event()
        self.was_cancelled = asyncio.Event()

    async def do(self) -> None:
        self.has_begun.set()
        try:
            await self.may_finish.wait()
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise


def fixture_server(work: Work) -> Server[Any]:
    """Returns a server whose tool ``work`` reports progress, works, and says that it is done."""

    async def list_tools(
        request: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[types.Tool(name="work", input_schema={"type": "object"})]
        )

    async def call_tool(
        request: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        await request.session.report_progress(1, 2, "half of it")
        await work.do()
        return types.CallToolResult(content=[types.TextContent(text="done")])

    return Server("fixture", on_list_tools=list_tools, on_call_tool=call_tool)


@asynccontextmanager
async def hosted(endpoint: McpEndpoint) -> AsyncIterator[str]:
    """Serves the endpoint over HTTP and yields its URL; closes the endpoint in the end."""

    async def mcp(request: Request) -> Response:
        return AsgiResponse(partial(endpoint.answer, await request.body(), await request.json()))

    server = LoopbackServer(Starlette(routes=[Route("/mcp", mcp, methods=["POST"])]))
    async with server.running():
        try:
            yield f"http://{LOOPBACK}:{server.port}/mcp"
        finally:
            await endpoint.aclose()
