# mypy: ignore-errors
# Either SDK runs this, and the type checker sees only SDK 2.
"""A server of SDK 2, or of SDK 1 under the Python of .venv-mcp1.

Its first argument is ``http``, ``sse`` or ``stdio``. The first two take a port, of which 0 is a free
one, and write where they listen as a line.
"""

import asyncio
import socket
import sys

import uvicorn

try:
    from mcp.server.mcpserver import Context, MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
except ImportError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.server.fastmcp.exceptions import ToolError

server = MCPServer("foreign", log_level="CRITICAL")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def fail() -> str:
    """Fails."""
    raise ToolError("it went wrong")


@server.tool()
async def count(ctx: Context) -> str:
    """Reports progress."""
    for step in (1, 2):
        await ctx.report_progress(step, 2)
    return "counted"


@server.resource("note://one")
def note() -> str:
    """A note."""
    return "noted"


@server.prompt()
def review(language: str) -> str:
    """Asks for a review."""
    return f"Review this {language}"


async def serve(app, path: str) -> None:
    with socket.socket(proto=socket.IPPROTO_TCP) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", int(sys.argv[2])))
        bound.listen()
        sys.stdout.write(f"http://127.0.0.1:{bound.getsockname()[1]}{path}\n")
        sys.stdout.flush()
        config = uvicorn.Config(app, log_config=None, log_level="critical", access_log=False)
        await uvicorn.Server(config).serve(sockets=[bound])


if sys.argv[1] == "stdio":
    server.run()
elif sys.argv[1] == "sse":
    asyncio.run(serve(server.sse_app(), "/sse"))
else:
    asyncio.run(serve(server.streamable_http_app(), "/mcp"))
