"""The MCP server over our tools, and the stateless endpoint that hosts it or any other."""

from shared.mcp_server.endpoint import MAX_MESSAGE_BYTES, McpEndpoint

__all__ = ["MAX_MESSAGE_BYTES", "McpEndpoint"]
