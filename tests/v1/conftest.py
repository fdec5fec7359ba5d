"""The app before a provider whose bytes a test decides."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx2
import openai
import pytest

from tests.conftest import KEY, MakeClient, ThreadServer
from tests.v1.upstream import Upstream


@dataclass
class Provider:
    """A provider of given bytes, and where it is."""

    upstream: Upstream
    base_url: str


@pytest.fixture
def provider() -> Iterator[Provider]:
    upstream = Upstream()
    with ThreadServer(upstream) as server:
        yield Provider(upstream, f"{server.origin}/v1")


@pytest.fixture
def gateway_environment(environment: dict[str, str], provider: Provider) -> dict[str, str]:
    """Settings of an app that calls the provider of given bytes."""
    return environment | {"OPENAI_BASE_URL": provider.base_url}


@pytest.fixture
def gateway(make_client: MakeClient, gateway_environment: dict[str, str]) -> httpx2.AsyncClient:
    """A client of that app."""
    return make_client(gateway_environment)


@pytest.fixture
async def api(app_origin: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client of the app before the stand-in."""
    async with openai.AsyncOpenAI(
        base_url=f"{app_origin}/v1", api_key=KEY, max_retries=0, timeout=60
    ) as client:
        yield client
