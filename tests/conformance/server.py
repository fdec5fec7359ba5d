"""Runs the official conformance suite against our endpoint: `python -m tests.conformance.server`.

Against the app as it is (``app``), or against a server with the tools that the scenarios expect, hosted
by the same route, guard and endpoint (``fixture``). The scenarios of tasks run against tools made as the
app's own are (``tasks``).
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from local.server import LOOPBACK, LoopbackServer
from local.stand_in import create_stand_in
from shared.app import create_app
from shared.auth import Guard, KeyAuthenticator
from shared.mcp_server import McpEndpoint
from shared.routes.errors import install_error_handlers
from shared.routes.mcp import MCP_PATH, mcp_router
from shared.routes.middleware import RequestMiddleware
from shared.routes.routing import add_routes
from shared.settings import Settings, load_settings
from tests.node import NODE, installed

KEY = "conformance"
REVISIONS = ("2025-11-25", "2026-07-28")
HERE = Path(__file__).parent
TASK_SCENARIOS = (
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
)
"""All but those of tools that ask their caller or refuse clients without tasks: there are none here."""

TIMEOUT_MS = 60_000
"""Of one scenario."""


async def run(target: str, revision: str) -> int:
    """Runs what the revision requires, and returns the suite's exit status."""
    # Tasks go on for a moment, and write, after the suite has ended.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with served(create_stand_in()) as provider:
            settings = load_settings(
                {
                    "MCP_API_KEY": KEY,
                    "LOCAL_STORAGE_PATH": folder,
                    "OPENAI_BASE_URL": f"{provider}/v1",
                    "OPENAI_API_KEY": "sk-conformance",
                    "LOG_LEVEL": "error",
                }
            )
            if target == "app":
                app = create_app(settings)
                async with app.router.lifespan_context(app), served(with_key(app)) as origin:
                    return await run_suite(target, revision, origin)
            async with (
                hosted_fixture(settings, target) as app,
                served(with_key(app)) as origin,
            ):
                if target == "tasks":
                    return await run_tasks(origin)
                return await run_suite(target, revision, origin)


async def run_suite(target: str, revision: str, origin: str) -> int:
    """Runs the suite, which ends with 0 where nothing fails but what is expected to."""
    return await _suite(
        origin,
        *("--requirements", revision, "--timeout", str(TIMEOUT_MS)),
        *("--expected-failures", str(HERE / "expected" / f"{target}-{revision}.yml")),
    )


async def run_tasks(origin: str) -> int:
    """Runs the scenarios of tasks, and returns how many fail."""
    statuses = [await _suite(origin, "--scenario", scenario) for scenario in TASK_SCENARIOS]
    return sum(map(bool, statuses))


async def _suite(origin: str, *options: str) -> int:
    suite = installed("@modelcontextprotocol/conformance/dist/index.js")
    process = await asyncio.create_subprocess_exec(
        NODE, suite, *("server", "--url", f"{origin}{MCP_PATH}"), *options
    )
    return await process.wait()


@asynccontextmanager
async def hosted_fixture(settings: Settings, target: str) -> AsyncIterator[FastAPI]:
    """Hosts a fixture server where the app has its own: behind the route and the guard."""
    # Loading it takes the SDK's whole server.
    from tests.conformance.fixture import fixture_server
    from tests.conformance.tasks_fixture import tasks_fixture

    endpoint = McpEndpoint(
        fixture_server if target == "fixture" else partial(tasks_fixture, settings)
    )
    api = FastAPI(openapi_url=None)
    install_error_handlers(api, None)
    add_routes(api, mcp_router(endpoint, Guard([KeyAuthenticator(settings, None, [])]), ()))
    api.add_middleware(RequestMiddleware, deadline_seconds=settings.request_deadline_seconds)
    try:
        yield api
    finally:
        await endpoint.aclose()


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Serves an application and yields its origin."""
    server = LoopbackServer(app)
    async with server.running():
        yield f"http://{LOOPBACK}:{server.port}"


def with_key(app: ASGIApp) -> ASGIApp:
    """Returns the application with our key in each request: the suite has no option for headers."""

    async def add_key(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"x-api-key", KEY.encode())]}
        await app(scope, receive, send)

    return add_key


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=("app", "fixture", "tasks"))
    parser.add_argument("revision", choices=REVISIONS)
    wanted = parser.parse_args()
    sys.exit(asyncio.run(run(wanted.target, wanted.revision)))
