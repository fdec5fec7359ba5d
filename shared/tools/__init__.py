"""Tools: the registry that derives their three doors, and one module for each family of them."""

from shared.tools.claims import Claims
from shared.tools.registry import Tool, ToolRegistry, tool
from shared.tools.toolset import JsonObject, ToolResult, Toolset, ToolSpec

__all__ = [
    "Claims",
    "JsonObject",
    "Tool",
    "ToolRegistry",
    "ToolResult",
    "ToolSpec",
    "Toolset",
    "tool",
]
