"""Which tools a caller has: our own, those of connections, and the search in place of too many."""

from shared.selection.selector import ToolSelection, ToolSelector

__all__ = ["ToolSelection", "ToolSelector"]
