"""Tasks of MCP clients: long tool calls whose callers poll for the result."""

from shared.mcp_server.tasks.service import Tasks

__all__ = ["Tasks"]
