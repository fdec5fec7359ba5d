"""The composition root: settings become services, services become the FastAPI application."""

import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from pydantic_core import to_json

from shared import __version__
from shared.agent import Agent
from shared.auth import EntraId, Guard, KeyAuthenticator, KeySource, looks_like_token
from shared.context import CallContext
from shared.housekeeping import Housekeeping
from shared.key_text import generate_key
from shared.keys import AdminChanges, KeyStore
from shared.mcp_server import ListAnswers, McpEndpoint
from shared.preloading import Preloading, PreloadingMiddleware, modules_for
from shared.principal_data import PrincipalData
from shared.routes.changes import changes_router
from shared.routes.chat import chat_router
from shared.routes.connections import connections_router
from shared.routes.conversations import conversations_router
from shared.routes.docs import DOCS_PATH, OPENAPI_PATH, REDOC_PATH, docs_router
from shared.routes.errors import install_error_handlers
from shared.routes.health import HEALTH_PATH, health_router
from shared.routes.keys import keys_router
from shared.routes.mcp import MCP_PATH, mcp_context, mcp_router
from shared.routes.me import me_router
from shared.routes.media import media_router
from shared.routes.middleware import (
    AfterFirstAnswer,
    ConfigurationGate,
    Cors,
    RequestMiddleware,
)
from shared.routes.openapi import complete_openapi
from shared.routes.pages import PAGE_FILES_PATH, PAGE_PATH, pages_router
from shared.routes.principals import principals_router
from shared.routes.protected_resource import ProtectedResource, protected_resource_router
from shared.routes.routing import add_routes, index_paths
from shared.routes.tools import tools_router
from shared.routes.usage import usage_router
from shared.routes.v1 import openai_router
from shared.routes.videos import videos_router
from shared.services import Services
from shared.settings import Settings, load_settings
from shared.timing import Timing

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

OPEN_PATHS = (HEALTH_PATH, OPENAPI_PATH, DOCS_PATH, REDOC_PATH, PAGE_PATH, "/pages")
"""Routes that answer even while a setting is malformed, with what lies below them."""

logger = logging.getLogger(__name__)


def create_app(settings: Settings | None = None, timing: Timing | None = None) -> FastAPI:
    """Builds the application; nothing is opened, sent or imported that a first request could wait for.

    Args:
        settings: The settings; read from the environment when not given.
        timing: How long leases, pauses and waits are.

    Returns:
        The application; its ``state.housekeeping`` is the regular work that a timer runs.
    """
    settings = settings or load_settings()
    configure_logging(settings)
    timing = timing or Timing()
    services = Services.make(settings, timing=timing)
    state = services.storage.state
    keys, changes = KeyStore(state, settings.auth.api_keys, timing.key_refresh), AdminChanges(state)
    entra = EntraId.of(settings)
    resource = ProtectedResource(entra.config, MCP_PATH) if entra else None
    guard = _make_guard(settings, keys.snapshot if services.storage.is_configured else None, entra)
    tools = services.tools
    agent = Agent(
        settings,
        openai=services.openai,
        tools=services.selector,
        conversations=services.conversations,
        media_parts=services.media_parts,
        claims=services.claims,
        tool_timeout=timing.tool,
    )
    icons_url = f"{settings.own_url}{PAGE_FILES_PATH}"
    mcp = McpEndpoint(
        lambda: make_mcp_server(services, mcp_context, icons_url),
        # Where spans are exported, each request has one of the SDK's.
        None if settings.otlp.endpoint else ListAnswers(services.selector, mcp_context),
        [tool.name for tool in tools if not tool.traits.open_world],
    )
    origins = settings.cors_allowed_origins
    mcp_origins = settings.mcp_allowed_origins

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # The Functions worker never runs this: it ends with the process. Hosts that do run it get a
        # clean end.
        yield
        await mcp.aclose()
        await keys.snapshot.aclose()
        if entra is not None:
            await entra.aclose()
        await services.aclose()

    api = FastAPI(
        title="OpenAI MCP Functions",
        version=__version__,
        description=f"Chat and tools of OpenAI-compatible providers. MCP clients connect to {MCP_PATH}.",
        # Our own routes show the document: from memory, and without another host.
        openapi_url=None,
        # Behind the Functions host a redirect would name the scheme http, and carry keys over it.
        redirect_slashes=False,
        # Spans of requests and their metrics; the app writes its own logs.
        telemetry={
            "tracing": settings.otlp.endpoint is not None,
            "metrics": settings.otlp.endpoint is not None,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
        lifespan=lifespan,
    )
    api.state.housekeeping = Housekeeping(services, settings.problems)
    install_error_handlers(api, resource)
    mcp_route_origins = (*origins, *mcp_origins, settings.own_url)
    people = PrincipalData(
        state, services.media, [services.reports.forget, changes.forget, keys.forget]
    )
    add_routes(
        api,
        health_router(settings, guard, services, entra),
        tools_router(tools, services.selector, guard),
        videos_router(services.video_jobs, guard),
        chat_router(agent, guard, timing.ping),
        conversations_router(services.conversations, guard),
        media_router(services.media, services.storage, guard),
        usage_router(services.reports, guard),
        # The Functions host does not tell by which name and scheme it was called.
        connections_router(services.connections, guard, settings.own_url),
        keys_router(keys, changes, settings, guard),
        changes_router(changes, guard),
        me_router(settings, guard, services.ledger),
        principals_router(people, changes, guard),
        openai_router(
            services.openai,
            guard,
            timing.ping,
            claims=services.claims,
            media=services.media,
            downloads=services.downloads,
            agent=agent,
            media_parts=services.media_parts,
        ),
        mcp_router(mcp, guard, mcp_route_origins),
    )
    complete_openapi(api)
    add_routes(
        api,
        *([protected_resource_router(resource)] if resource else []),
        pages_router(settings, services.openai, entra.config if entra else None),
        docs_router(lambda: to_json(api.openapi())),
    )
    index_paths(api)
    # The last one added is the outermost.
    if settings.otlp.endpoint:
        api.add_middleware(AfterFirstAnswer, act=lambda: start_export(settings))
    # Elsewhere a process may be a test or a command, which ends before it needs any of it.
    if settings.in_azure:
        schemas = {tool.name: tool.make_spec for tool in tools}
        preloading = Preloading(modules_for(settings), schemas)
        preloading.start()
        api.add_middleware(PreloadingMiddleware, preloading=preloading)
    if settings.problems:
        api.add_middleware(ConfigurationGate, settings=settings, guard=guard, open_paths=OPEN_PATHS)
    if origins or mcp_origins or resource:
        api.add_middleware(
            Cors,
            origins=origins,
            mcp_origins=mcp_origins,
            mcp_path=MCP_PATH,
            public_paths=resource.metadata_paths if resource else (),
        )
    api.add_middleware(
        RequestMiddleware,
        deadline_seconds=settings.request_deadline_seconds,
        body_seconds=timing.body,
        probe_path=HEALTH_PATH,
    )
    return api


def make_mcp_server(
    services: Services,
    make_context: Callable[[Any], CallContext],
    icons_url: str | None = None,
) -> "Server[Any]":
    """Returns our tools as an MCP server; imports the SDK.

    Args:
        services: The services.
        make_context: Makes the context of one request of the protocol.
        icons_url: URL of the folder of icons; None where no client could load them.
    """
    from shared.mcp_server.server import build_server
    from shared.mcp_server.tasks import Tasks

    return build_server(
        services.tools,
        services.selector,
        services.media,
        services.conversations,
        Tasks(services.tools, services.storage),
        make_context,
        icons_url,
        ping_seconds=services.storage.timing.ping,
    )


def start_export(settings: Settings) -> None:
    """Starts the export of spans and metrics; imports OpenTelemetry's SDK."""
    from shared.otlp import start

    start(settings.otlp)


def _make_guard(settings: Settings, stored: KeySource | None, entra: EntraId | None) -> Guard:
    auth = settings.auth
    generated = []
    is_configured = auth.api_keys or auth.mcp_api_key or auth.mcp_server_api_key or entra
    if not is_configured and not settings.in_azure and not settings.problems:
        generated.append(generate_key())
        # Not through a logger: logs are kept, and the key must not be.
        sys.stdout.write(f"No API key is configured. For this run, use: {generated[0]}\n")
        sys.stdout.flush()
    if entra is None:
        return Guard([KeyAuthenticator(settings, stored, generated)])
    keys = KeyAuthenticator(settings, stored, generated, is_foreign=looks_like_token)
    return Guard([entra.authenticator, keys])


def configure_logging(settings: Settings) -> None:
    """Sets the log level, keeps other loggers from writing URLs, and logs what is malformed."""
    logging.getLogger("shared").setLevel(settings.log_level.upper())
    # All write a line with a URL for every request; ours leaves out what a caller put into the URL.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("azure").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").addFilter(lambda record: False)
    for problem in (*settings.problems, *settings.auth.api_keys.problems(datetime.now(UTC))):
        logger.error(problem)
