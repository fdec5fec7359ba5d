"""The MCP server over our tools, and the stateless endpoint that hosts it or any other."""

from shared.mcp_server.content import KINDS, read_kinds
from shared.mcp_server.endpoint import MAX_MESSAGE_BYTES, McpEndpoint
from shared.mcp_server.list_answers import ListAnswers
from shared.mcp_server.messages import (
    INVALID_REQUEST,
    PARSE_ERROR,
    complaint_about,
    protocol_error,
)

__all__ = [
    "INVALID_REQUEST",
    "KINDS",
    "MAX_MESSAGE_BYTES",
    "PARSE_ERROR",
    "ListAnswers",
    "McpEndpoint",
    "complaint_about",
    "protocol_error",
    "read_kinds",
]
