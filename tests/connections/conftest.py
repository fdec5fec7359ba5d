import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp

from shared.auth import Guard, KeyAuthenticator
from shared.connections import Connections, ConnectionsConfig
from shared.connections.client.sessions import SessionCache
from shared.deadline import Deadline
from shared.routes.connections import connections_router
from shared.routes.errors import install_error_handlers
from shared.routes.middleware import RequestMiddleware
from shared.settings import load_settings
from shared.timing import Timing
from tests.conftest import AUTH
from tests.conftest import KEY as API_KEY
from tests.connections.authority import Authority
from tests.connections.world import Gate, Running, StateFolder, make_server

MakeConnections = Callable[..., Connections]
KEY = os.urandom(32)
"""Encrypts what is stored."""

ORIGIN = "https://app.example"


@pytest.fixture
def store(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path)


@pytest.fixture
def deadline() -> Deadline:
    return Deadline.after(30)


@pytest.fixture
async def make_connections(store: StateFolder) -> AsyncIterator[MakeConnections]:
    """Makes instances of the app that share one store."""
    others = asyncio.all_tasks()
    async with AsyncExitStack() as stack:

        def make(
            config: ConnectionsConfig | None = None,
            sessions: SessionCache | None = None,
            timing: Timing | None = None,
        ) -> Connections:
            config = config or ConnectionsConfig(allow_private=True, encryption_keys=[KEY])
            connections = Connections(config, store, sessions, timing=timing)
            stack.push_async_callback(connections.aclose)
            return connections

        yield make
    # Whatever an instance began has ended with it.
    left = asyncio.all_tasks() - others
    running = {getattr(task.get_coro(), "__qualname__", "") for task in left}
    assert {name for name in running if not name.startswith("TestRunner.")} == set()


@pytest.fixture
def connections(make_connections: MakeConnections) -> Connections:
    return make_connections()


class McpWorld:
    """A streamable HTTP server, and the gate before it that lives through restarts."""

    def __init__(self) -> None:
        self.gate = Gate(lambda *_: None)  # type: ignore[arg-type]
        self.running = Running(self._make)
        self.more_tools: list[str] = []
        self.make_app: Callable[[], ASGIApp] = self._make_app

    def _make_app(self) -> ASGIApp:
        server = make_server()
        for name in self.more_tools:
            server.add_tool(lambda: "done", name=name)
        return server.streamable_http_app()

    def _make(self) -> Gate:
        self.gate.app = self.make_app()
        return self.gate

    @property
    def url(self) -> str:
        return f"{self.running.origin}/mcp"


@pytest.fixture
def server() -> Iterator[McpWorld]:
    world = McpWorld()
    with world.running:
        yield world


@pytest.fixture
def authority(server: McpWorld) -> Iterator[Authority]:
    """The authority of the server, whose gate lets in whoever has its latest token."""
    authority = Authority()
    with Running(lambda: authority.app) as running:
        authority.origin = running.origin
        authority.server_url = server.url
        metadata = f"{running.origin}/.well-known/oauth-protected-resource/mcp"
        server.gate.challenge = f'Bearer resource_metadata="{metadata}"'
        server.gate.current_token = lambda: authority.valid or "none yet"
        yield authority


@pytest.fixture
def deadline_seconds() -> float:
    return 20


@pytest.fixture
async def api(
    connections: Connections, deadline_seconds: float
) -> AsyncIterator[httpx2.AsyncClient]:
    guard_keys = KeyAuthenticator(load_settings({"MCP_API_KEY": API_KEY}))
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(connections_router(connections, Guard([guard_keys]), ORIGIN))
    app.add_middleware(RequestMiddleware, deadline_seconds=deadline_seconds)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://app", headers=AUTH
    ) as client:
        yield client
