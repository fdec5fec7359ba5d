import json
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from mcp import Client

from local.stand_in import VIDEO_MODEL
from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import AUTH, KEY, StandIn, ThreadServer, digest
from tests.mcp.support import (
    CHAT_ONLY_KEY,
    HEADERS,
    MCP_ORIGIN,
    MODES,
    PAGE_ORIGIN,
    TIMEOUT,
    connected,
)


@pytest.fixture(scope="module")
def origin(stand_in_server: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Origin of one app for all tests of a module: it keeps nothing that they could notice."""
    chat_only = {"sha256": digest(CHAT_ONLY_KEY), "scopes": ["chat"]}
    environment = {
        "API_KEYS": json.dumps({"chat-only": chat_only}),
        "MCP_API_KEY": KEY,
        "OPENAI_BASE_URL": stand_in_server.base_url,
        "OPENAI_API_KEY": "sk-test",
        "CORS_ALLOWED_ORIGINS": PAGE_ORIGIN,
        "MCP_ALLOWED_ORIGINS": MCP_ORIGIN,
        "OPENAI_VIDEO_MODEL": VIDEO_MODEL,
        "LOCAL_STORAGE_PATH": str(tmp_path_factory.mktemp("storage")),
    }
    with ThreadServer(create_app(load_settings(environment))) as server:
        yield server.origin


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """How the official client negotiates; every test that uses it runs in both eras."""
    return str(request.param)


@pytest.fixture
async def mcp_client(origin: str, mode: str, stand_in: StandIn) -> AsyncIterator[Client]:
    """The official client, connected to the app, whose provider has forgotten earlier faults."""
    async with connected(f"{origin}/mcp", mode) as client:
        yield client


@pytest.fixture
async def wire(origin: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A plain HTTP client of the app that sends what MCP clients send, the key included."""
    async with httpx2.AsyncClient(
        base_url=origin, headers={**HEADERS, **AUTH}, timeout=TIMEOUT
    ) as client:
        yield client
