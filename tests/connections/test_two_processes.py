"""Connections that outlive the process that made them."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.conftest import AUTH
from tests.connections.conftest import McpWorld
from tests.connections.world import SECRET
from tests.mcp.support import process_environment
from tests.media.app_process import AppProcess, running

pytestmark = pytest.mark.any_python


@pytest.fixture
def settings(environment: dict[str, str]) -> dict[str, str]:
    return process_environment(**environment, CONNECTIONS_ALLOW_PRIVATE_NETWORKS="true")


@pytest.fixture
def first(settings: dict[str, str]) -> Iterator[AppProcess]:
    with running(settings) as app:
        yield app


@pytest.fixture
def second(settings: dict[str, str]) -> Iterator[AppProcess]:
    with running(settings) as app:
        yield app


def client_of(app: AppProcess) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=app.origin, headers=AUTH, timeout=60)


async def connect(http: httpx2.AsyncClient, server: McpWorld) -> str:
    server.gate.token = SECRET
    body = {"mcp_url": server.url, "auth_type": "bearer", "bearer_token": SECRET}
    response = await http.post("/mcp/connect", json=body)
    assert response.status_code == 201, response.text
    client_id: str = response.json()["client_id"]
    return client_id


async def add(http: httpx2.AsyncClient, client_id: str) -> httpx2.Response:
    arguments = {"a": 2, "b": 3}
    call = {"client_id": client_id, "tool_name": "add", "arguments": arguments}
    return await http.post("/mcp/call_tool", json=call)


async def assert_unknown(http: httpx2.AsyncClient, client_id: str) -> None:
    query = {"client_id": client_id}
    for response in (
        await http.get("/mcp/list_tools", params=query),
        await http.get("/mcp/list_resources", params=query),
        await http.get("/mcp/list_prompts", params=query),
        await http.get(f"/mcp/client/{client_id}"),
        await add(http, client_id),
        await http.post("/mcp/read_resource", json={**query, "uri": "note://one"}),
        await http.post("/mcp/get_prompt", json={**query, "prompt_name": "review"}),
        await http.post("/mcp/disconnect", json=query),
    ):
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert (await http.get("/mcp/clients")).json()["count"] == 0


async def test_connection_of_a_killed_process_is_used_and_ended_by_another(
    first: AppProcess, second: AppProcess, settings: dict[str, str], server: McpWorld
) -> None:
    async with client_of(first) as http:
        client_id = await connect(http, server)
        first.kill()
    async with client_of(second) as http:
        (shown,) = (await http.get("/mcp/clients")).json()["clients"]
        assert shown["client_id"] == client_id
        listing = await http.get("/mcp/list_tools", params={"client_id": client_id})
        assert listing.json()["tools"][0]["name"] == "add"
        assert (await add(http, client_id)).json()["result"] == {"result": 5}
        ended = await http.post("/mcp/disconnect", json={"client_id": client_id})
        assert ended.status_code == 200
        await assert_unknown(http, client_id)
    with running(settings) as restarted:
        async with client_of(restarted) as http:
            await assert_unknown(http, client_id)


async def test_connection_that_another_process_ended_is_unknown_where_it_was_in_use(
    first: AppProcess, second: AppProcess, server: McpWorld
) -> None:
    async with client_of(first) as one, client_of(second) as other:
        client_id = await connect(one, server)
        for http in (one, other):
            assert (await add(http, client_id)).json()["result"] == {"result": 5}
        await other.post("/mcp/disconnect", json={"client_id": client_id})
        server.gate.methods.clear()
        for http in (one, other):
            await assert_unknown(http, client_id)
        assert "tools/call" not in server.gate.methods
