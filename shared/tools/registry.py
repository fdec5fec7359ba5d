"""The registry of our own tools."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from pydantic_core import to_json

from shared.context import CallContext
from shared.errors import BUG, DeadlineExceeded, GatewayError, NotFound
from shared.storage import Media, find_media
from shared.telemetry import current_record
from shared.tools.claims import Claims
from shared.tools.tool import Tool, find_tools
from shared.tools.toolset import JsonObject, ToolResult, ToolSpec

logger = logging.getLogger(__name__)


class ToolRegistry:
    """Our own tools, as a `Toolset` and by name.

    Args:
        families: Objects whose methods are marked with `tool`.
        claims: Claims calls by their idempotency keys, and completes detached ones.
    """

    def __init__(self, families: Iterable[object], claims: Claims) -> None:
        self._tools = {
            found.name: found for family in families for found in find_tools(family, claims)
        }
        self._specs: Sequence[ToolSpec] | None = None

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def get(self, name: str) -> Tool:
        """Returns a tool by name.

        Raises:
            NotFound: There is none of this name.
        """
        if found := self._tools.get(name):
            return found
        raise NotFound(f"There is no tool named '{name}'. The tools are: {', '.join(self._tools)}.")

    async def list(self, context: CallContext) -> Sequence[ToolSpec]:
        """Returns all tools."""
        if self._specs is None:
            # In a thread, because making all schemas takes a while; once.
            self._specs = await asyncio.to_thread(lambda: [found.spec for found in self])
        return self._specs

    async def call(self, name: str, arguments: JsonObject, context: CallContext) -> ToolResult:
        """Calls a tool for a caller who takes errors as results: an MCP client or the agent.

        Raises:
            NotFound: There is none of this name.
            DeadlineExceeded: The request's budget is used up.
        """
        found = self.get(name)
        current_record().add_tool(found.name)
        try:
            structured = await found.call(found.check(arguments), context)
        except DeadlineExceeded:
            raise
        except GatewayError as error:
            return ToolResult(error.detail, is_error=True, failure=error.failure)
        except Exception:
            logger.exception("Tool %s failed", name)
            text = f"The tool '{name}' failed because of a bug in it."
            return ToolResult(text, is_error=True, failure=BUG)
        return _result(found, structured)

    async def recall(self, name: str, structured: JsonObject, context: CallContext) -> ToolResult:
        """Returns the result of an earlier call as a call returns it, with fresh links to its media.

        Args:
            name: The tool.
            structured: The result as it was kept.
            context: Who asks for it.

        Raises:
            NotFound: There is no tool of this name.
            StorageUnavailable: The media cannot be looked up.
        """
        found = self.get(name)
        return _result(found, await found.refresh(structured, context))


def _result(found: Tool, structured: JsonObject) -> ToolResult:
    media = cast("tuple[Media, ...]", tuple(find_media(structured)))
    shown = media if found.traits.has_media else ()
    return ToolResult(to_json(structured).decode(), structured, media=shown)
