"""Tasks of MCP clients: calls of tools whose callers ask later for what came of them."""

from shared.mcp_server.tasks.service import Tasks

__all__ = ["Tasks"]
