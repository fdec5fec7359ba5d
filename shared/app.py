"""The composition root: settings become services, services become the FastAPI application."""

import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from shared import __version__
from shared.agent import Agent
from shared.auth import Guard, KeyAuthenticator, generate_key
from shared.mcp_server import McpEndpoint
from shared.openai_service import OpenAIService
from shared.routes.chat import chat_router
from shared.routes.envelope import ConfigurationGate, Cors, RequestEnvelope
from shared.routes.errors import install_error_handlers
from shared.routes.health import health_router
from shared.routes.mcp import MCP_PATH, mcp_context, mcp_router
from shared.routes.tools import tools_router
from shared.settings import Settings, load_settings
from shared.tools import ToolContext, ToolRegistry
from shared.tools.clock import ClockTools
from shared.tools.models import ModelTools
from shared.tools.text import TextTools

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

OPEN_PATHS = ("/health", "/openapi.json")
"""Routes that answer even while a setting is malformed."""

logger = logging.getLogger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Builds the application; nothing is opened, sent or imported that a first request could wait for.

    Args:
        settings: The settings; read from the environment when not given.
    """
    settings = settings or load_settings()
    configure_logging(settings)
    guard = _make_guard(settings)
    openai = OpenAIService(settings)
    registry = make_registry(settings, openai)
    agent = Agent(
        openai,
        [registry],
        system_prompt=settings.chat_system_prompt,
        max_turns=settings.chat_max_turns,
        temperature=settings.openai_temperature,
    )
    mcp = McpEndpoint(lambda: make_mcp_server(registry, mcp_context))
    origins = settings.cors_allowed_origins
    mcp_origins = settings.mcp_allowed_origins

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # The Functions worker never runs this: it ends with the process. Hosts that do run it get a
        # clean end.
        yield
        await mcp.aclose()
        await openai.aclose()

    api = FastAPI(
        title="OpenAI MCP Functions",
        version=__version__,
        description=f"Chat and tools of OpenAI-compatible providers. MCP clients connect to {MCP_PATH}.",
        docs_url=None,
        redoc_url=None,
        # Behind the Functions host a redirect would name the scheme http, and carry keys over it.
        redirect_slashes=False,
        lifespan=lifespan,
    )
    install_error_handlers(api)
    api.include_router(health_router(settings, guard, openai))
    api.include_router(tools_router(registry, guard))
    api.include_router(chat_router(agent, guard))
    api.include_router(mcp_router(mcp, guard, (*origins, *mcp_origins)))
    # The last one added is the outermost.
    api.add_middleware(ConfigurationGate, problems=settings.problems, open_paths=OPEN_PATHS)
    api.add_middleware(Cors, origins=origins, mcp_origins=mcp_origins, mcp_path=MCP_PATH)
    api.add_middleware(RequestEnvelope, deadline_seconds=settings.request_deadline_seconds)
    return api


def make_registry(settings: Settings, openai: OpenAIService) -> ToolRegistry:
    """Returns our own tools; a new family of tools is added here."""
    return ToolRegistry(
        [TextTools(openai, settings.openai_temperature), ModelTools(openai), ClockTools()]
    )


def make_mcp_server(
    registry: ToolRegistry, make_context: Callable[[Any], ToolContext]
) -> "Server[Any]":
    """Returns our tools as an MCP server; imports the SDK."""
    from shared.mcp_server.server import build_server

    return build_server(registry, make_context)


def _make_guard(settings: Settings) -> Guard:
    authenticator = KeyAuthenticator.from_settings(settings)
    if authenticator is None and not settings.in_azure and not settings.problems:
        key = generate_key()
        authenticator = KeyAuthenticator.from_settings(settings, key)
        # Not through a logger: logs are kept, and the key must not be.
        sys.stdout.write(f"No API key is configured. For this run, use: {key}\n")
        sys.stdout.flush()
    return Guard([authenticator] if authenticator else [])


def configure_logging(settings: Settings) -> None:
    """Sets the log level, keeps other loggers from writing URLs, and logs what is malformed."""
    logging.getLogger("shared").setLevel(settings.log_level.upper())
    # Both write a line with a URL for every request; ours leaves out what a caller put into the URL.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").addFilter(lambda record: False)
    for problem in settings.problems:
        logger.error(problem)
