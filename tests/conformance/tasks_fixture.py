"""The tools that the suite's scenarios of tasks call, as tools of this app behind its own server.

What each has to do: https://github.com/modelcontextprotocol/conformance (the fixture of each scenario).
"""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from mcp.server.lowlevel import Server
from typing_extensions import TypedDict

from shared.context import CallContext
from shared.errors import ProviderUnavailable
from shared.mcp_server.server import build_server
from shared.mcp_server.tasks import Tasks
from shared.routes.mcp import mcp_context
from shared.selection import ToolSelector
from shared.services import Services
from shared.settings import Settings
from shared.timing import Timing
from shared.tools import JsonObject, ToolRegistry, ToolResult, ToolSpec, tool


class Text(TypedDict):
    """Result of the tools."""

    text: str


class FixtureTools:
    """The tools."""

    @tool(title="Greet", read_only=True)
    async def greet(self, context: CallContext, name: str) -> Text:
        """Greets.

        Args:
            name: Whom.
        """
        return {"text": f"Hello, {name}!"}

    @tool(title="Slow compute", takes_long=True, detached=True, idempotent_by_key=True)
    async def slow_compute(self, context: CallContext, seconds: int = 1, label: str = "") -> Text:
        """Works for a while.

        Args:
            seconds: How long.
            label: What for.
        """
        await asyncio.sleep(seconds)
        return {"text": label}

    @tool(title="Failing job", takes_long=True, detached=True, idempotent_by_key=True)
    async def failing_job(self, context: CallContext) -> Text:
        """Fails as tools do."""
        await asyncio.sleep(1)
        raise ProviderUnavailable("The job has failed.")

    @tool(title="Protocol error job", takes_long=True, detached=True, idempotent_by_key=True)
    async def protocol_error_job(self, context: CallContext) -> Text:
        """Ends as a call ends whose instance dies."""
        raise asyncio.CancelledError


class FixtureSelector:
    """Selects the tools, whose texts are their results: the suite compares them.

    Args:
        registry: The tools.
    """

    def __init__(self, registry: ToolRegistry) -> None:
        self._registry = registry
        self.problems: Sequence[Any] = ()

    @property
    def specs(self) -> Sequence[ToolSpec]:
        """The descriptions of the tools."""
        return [found.spec for found in self._registry]

    async def for_client(self, context: CallContext) -> "FixtureSelector":
        """Returns what a list of tools is made of."""
        return self

    async def find(self, name: str, context: CallContext) -> "FixtureSelector":
        """Returns what calls a tool."""
        return self

    async def call(self, name: str, arguments: JsonObject, context: CallContext) -> ToolResult:
        """Calls a tool."""
        result = await self._registry.call(name, arguments, context)
        if result.structured is None:
            return result
        return ToolResult(result.structured["text"], result.structured)


def tasks_fixture(settings: Settings) -> Server[Any]:
    """Returns the server.

    Args:
        settings: Say where tasks are stored.
    """
    # A run that died is taken up soon: the suite waits ten seconds.
    services = Services.make(settings, timing=Timing(lease=1.0, renewal=0.25))
    registry = ToolRegistry([FixtureTools()], services.claims)
    return build_server(
        registry,
        cast(ToolSelector, FixtureSelector(registry)),
        services.media,
        services.conversations,
        Tasks(registry, services.storage),
        mcp_context,
        ping_seconds=services.storage.timing.ping,
    )
