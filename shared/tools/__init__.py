"""Tools: the registry that derives their three doors, and one module for each family of them."""

from shared.tools.claims import Claims
from shared.tools.registry import ToolRegistry
from shared.tools.tool import GetRoute, Tool, ToolResource, tool
from shared.tools.toolset import CONNECTION_SEPARATOR, JsonObject, ToolResult, Toolset, ToolSpec

__all__ = [
    "CONNECTION_SEPARATOR",
    "Claims",
    "GetRoute",
    "JsonObject",
    "Tool",
    "ToolRegistry",
    "ToolResource",
    "ToolResult",
    "ToolSpec",
    "Toolset",
    "tool",
]
