"""Agents over real services, with tools of a test's own."""

from shared.agent import Agent
from shared.selection import ToolSelector
from shared.services import Services
from shared.settings import Settings
from shared.tools import ToolRegistry


def make_agent(
    settings: Settings, services: Services, *families: object, tool_timeout: float = 120.0
) -> Agent:
    """Returns an agent whose own tools are those of some families.

    Args:
        settings: The settings.
        services: All else that it needs.
        families: Objects whose methods are marked with `tool`.
        tool_timeout: Maximum seconds of one tool call.
    """
    return Agent(
        settings,
        openai=services.openai,
        tools=ToolSelector(
            ToolRegistry(families, services.claims),
            services.connections,
            settings.connections.max_tools,
        ),
        conversations=services.conversations,
        media_parts=services.media_parts,
        claims=services.claims,
        tool_timeout=tool_timeout,
    )
