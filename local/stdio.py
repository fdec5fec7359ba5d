"""The same MCP server over standard input and output, for clients that start a command."""

import sys
from typing import Any

from local.provider import stand_in_if_needed
from shared.app import configure_logging, make_mcp_server
from shared.auth import Principal
from shared.context import CallContext
from shared.deadline import Deadline
from shared.services import Services
from shared.settings import DEFAULT_SCOPES, load_settings

LOCAL_PRINCIPAL = Principal("local", DEFAULT_SCOPES)
"""Who calls over stdio: whoever could start the process. There is no key to check."""


async def serve_stdio(content: frozenset[str] | None = None) -> int:
    """Serves until standard input ends; everything that is not protocol goes to standard error.

    Args:
        content: The kinds of content that the client takes in results; None for all.

    Returns:
        The exit status.
    """
    from mcp.server.stdio import stdio_server

    async with stand_in_if_needed() as is_stand_in:
        settings = load_settings()
        configure_logging(settings)
        if settings.problems:
            return 1
        if is_stand_in:
            sys.stderr.write(
                "No provider is configured: a local stand-in answers, not a model. "
                "Set OPENAI_API_KEY in local.settings.json for a real one.\n"
            )

        def make_context(request: Any) -> CallContext:
            deadline = Deadline.after(settings.request_deadline_seconds)
            return CallContext(
                LOCAL_PRINCIPAL,
                deadline,
                request.session.report_progress,
                door="mcp",
                content=content,
                keeps_media=content is None or "image" in content,
            )

        services = Services.make(settings, serves_links=False)
        server = make_mcp_server(services, make_context)
        async with stdio_server() as (read_stream, write_stream):
            await server.run(read_stream, write_stream, server.create_initialization_options())
        await services.aclose()
    return 0
