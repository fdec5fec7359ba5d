"""MCP servers to compare with: one of the official SDK alone, and one of FastMCP.

``python -m tests.bench.peer_servers sdk|fastmcp FILE`` serves what the file holds: ``tools`` as our app
lists them, and the ``result`` that each of them answers. FastMCP is in .venv-peers, as the SDK is.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from starlette.applications import Starlette
from starlette.types import ASGIApp

from local.server import LOOPBACK, LoopbackServer, bind


def sdk_app(tools: list[Any], result: Any) -> Starlette:
    """Returns the SDK's own stateless application."""
    listed = types.ListToolsResult(tools=[types.Tool.model_validate(tool) for tool in tools])

    async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
        return listed

    async def call_tool(_: Any, __: Any) -> types.CallToolResult:
        return types.CallToolResult.model_validate(result)

    server = Server[Any]("peer", on_list_tools=list_tools, on_call_tool=call_tool)
    return server.streamable_http_app(stateless_http=True)


def fastmcp_app(tools: list[Any], result: Any) -> ASGIApp:
    """Returns the stateless application of FastMCP."""
    # Imported late: the other application runs without it.
    from fastmcp import FastMCP
    from fastmcp.tools.base import Tool, ToolResult

    class Fixed(Tool):  # type: ignore[misc]
        async def run(self, arguments: dict[str, Any]) -> Any:
            return ToolResult(
                content=[types.TextContent.model_validate(part) for part in result["content"]],
                structured_content=result["structuredContent"],
            )

    server = FastMCP("peer")
    for tool in tools:
        fixed = Fixed(
            name=tool["name"],
            title=tool.get("title"),
            description=tool["description"],
            parameters=tool["inputSchema"],
            output_schema=tool.get("outputSchema"),
            annotations=tool.get("annotations"),
        )
        server.add_tool(fixed)
    app: ASGIApp = server.http_app(path="/mcp", stateless_http=True)
    return app


async def serve(app: ASGIApp) -> None:
    """Serves as our local host does, and prints where."""
    server = LoopbackServer(app, bind(0), grace_seconds=0)
    server.listen()
    sys.stdout.write(f"PEER=http://{LOOPBACK}:{server.port}\n")
    sys.stdout.flush()
    await server.run_until_stopped()


if __name__ == "__main__":
    described = json.loads(Path(sys.argv[2]).read_text())
    asyncio.run(serve(sdk_app(**described) if sys.argv[1] == "sdk" else fastmcp_app(**described)))
