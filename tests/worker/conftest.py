"""The application in the real worker library, in processes of their own."""

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.conftest import KEY, StandIn
from tests.worker.process import WorkerProcess, run_worker

BROWSER_ORIGIN = "https://app.example"


@pytest.fixture(scope="session")
def app_settings(
    stand_in_server: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The app settings of a working app; tests change what they need."""
    return {
        "MCP_API_KEY": KEY,
        "OPENAI_BASE_URL": stand_in_server.base_url,
        "OPENAI_API_KEY": "sk-test",
        "CORS_ALLOWED_ORIGINS": BROWSER_ORIGIN,
        "LOCAL_STORAGE_PATH": str(tmp_path_factory.mktemp("storage")),
    }


@pytest.fixture(scope="session")
def worker(app_settings: dict[str, str]) -> Iterator[WorkerProcess]:
    """A working app, shared by all tests that do not need a fresh one."""
    with run_worker(app_settings) as process:
        yield process


@pytest.fixture
async def caller(worker: WorkerProcess, stand_in: StandIn) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with a key, and a stand-in with no memory."""
    async with worker.client() as client:
        yield client
