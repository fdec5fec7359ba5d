import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.conftest import MakeClient, StandIn


class Api:
    """The app over HTTP, as a caller of its tools sees it."""

    def __init__(self, client: httpx2.AsyncClient, browser: httpx2.AsyncClient) -> None:
        self.http = client
        self._browser = browser

    async def call(
        self, tool: str, headers: dict[str, str] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Calls a tool that has to succeed."""
        response = await self.http.post(f"/tools/{tool}", json=arguments, headers=headers)
        assert response.status_code in (200, 202), response.text
        result: dict[str, Any] = response.json()
        return result

    async def refuse(self, tool: str, **arguments: Any) -> tuple[int, str, Any]:
        """Calls a tool that has to fail; returns status, code and the wrong fields, else the detail."""
        response = await self.http.post(f"/tools/{tool}", json=arguments)
        body = response.json()
        return response.status_code, body["code"], body.get("errors", body["detail"])

    async def open(self, url: str) -> httpx2.Response:
        """Opens a link without a key, as a browser does."""
        if url.startswith("http://localhost:7071/"):
            path = url.removeprefix("http://localhost:7071")
            answer = await self.http.get(path, headers={"Authorization": ""})
            if answer.status_code != 302:
                return answer
            url = answer.headers["location"]
        return await self._browser.get(url)

    async def ids(self, **query: Any) -> list[str]:
        """Returns the ids of the caller's media, newest first."""
        response = await self.http.get("/media", params=query)
        assert response.status_code == 200, response.text
        return [each["id"] for each in response.json()["media"]]


def kept_for(shown: httpx2.Response) -> int:
    """Returns for how many seconds a browser may keep what it was shown."""
    found = re.fullmatch(r"private, max-age=(\d+)", shown.headers["cache-control"])
    assert found
    return int(found[1])


@pytest.fixture
async def browser() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=60) as client:
        yield client


@pytest.fixture
def api(
    make_client: MakeClient,
    stored_environment: dict[str, str],
    browser: httpx2.AsyncClient,
    stand_in: StandIn,
) -> Api:
    """An app over each kind of storage; every test that uses it runs with both."""
    return Api(make_client(stored_environment), browser)


@pytest.fixture
def local_api(
    make_client: MakeClient, environment: dict[str, str], browser: httpx2.AsyncClient
) -> Api:
    """An app over a folder, where the storage makes no difference."""
    return Api(make_client(environment), browser)
