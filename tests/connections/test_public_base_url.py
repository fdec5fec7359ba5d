"""The address by which callers reach the app: behind a custom domain or Front Door it is another one."""

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import AUTH, MakeClient
from tests.connections.authority import Authority
from tests.connections.conftest import McpWorld

PUBLIC = "https://api.example.com"
RPC = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture
def public_environment(environment: dict[str, str]) -> dict[str, str]:
    return environment | {
        "PUBLIC_BASE_URL": PUBLIC,
        "CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true",
    }


async def test_authorizations_come_back_to_the_public_address(
    make_client: MakeClient,
    public_environment: dict[str, str],
    server: McpWorld,
    authority: Authority,
) -> None:
    client = make_client(public_environment)
    body = {"mcp_url": server.url, "auth_type": "oauth", "name": "remote"}
    started = (await client.post("/mcp/connect", json=body)).json()
    query = parse_qs(urlsplit(started["authorization_url"]).query)
    assert query["redirect_uri"] == [f"{PUBLIC}/mcp/oauth/callback"]


async def test_client_metadata_name_the_public_address(
    make_client: MakeClient, public_environment: dict[str, str]
) -> None:
    client = make_client(public_environment)
    document = (await client.get("/.well-known/mcp-oauth-client")).json()
    assert document["client_uri"] == PUBLIC
    assert document["redirect_uris"] == [f"{PUBLIC}/mcp/oauth/callback"]


async def test_links_to_media_begin_with_the_public_address(
    make_client: MakeClient, public_environment: dict[str, str]
) -> None:
    client = make_client(public_environment)
    drawn = await client.post("/tools/generate_image", json={"prompt": "A hill"})
    assert drawn.json()["media"][0]["url"].startswith(f"{PUBLIC}/m/")


@pytest.mark.parametrize(("origin", "status"), [(PUBLIC, 200), ("https://other.example", 403)])
async def test_page_of_the_public_address_may_call_mcp(
    make_client: MakeClient, public_environment: dict[str, str], origin: str, status: int
) -> None:
    client = make_client(public_environment, AUTH | ACCEPT | {"Origin": origin})
    assert (await client.post("/mcp", json=RPC)).status_code == status
