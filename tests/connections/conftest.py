import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from shared.connections import Connections, ConnectionsConfig
from shared.connections.sessions import SessionCache
from shared.deadline import Deadline
from tests.connections.world import Gate, Running, StateFolder, make_server

MakeConnections = Callable[..., Connections]
KEY = os.urandom(32)


@pytest.fixture
def store(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path)


@pytest.fixture
def deadline() -> Deadline:
    return Deadline.after(30)


@pytest.fixture
async def make_connections(store: StateFolder) -> AsyncIterator[MakeConnections]:
    """Makes instances of the app that share one store."""
    async with AsyncExitStack() as stack:

        def make(
            config: ConnectionsConfig | None = None, sessions: SessionCache | None = None
        ) -> Connections:
            config = config or ConnectionsConfig(allow_private=True, encryption_keys=[KEY])

            async def state() -> StateFolder:
                return store

            connections = Connections(config, state, sessions)
            stack.push_async_callback(connections.aclose)
            return connections

        yield make
    # Whatever an instance began has ended with it.
    running = {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
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
