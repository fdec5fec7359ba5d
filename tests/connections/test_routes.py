"""The manager's routes: fields, statuses and the shape of errors."""

import asyncio
import re
from typing import Any

import httpx2
import pytest

from tests.connections.authority import Authority
from tests.connections.conftest import ORIGIN, McpWorld
from tests.connections.world import SECRET, StateFolder, make_paging_server

OAUTH = {"mcp_url": "https://a.example", "auth_type": "oauth"}
BEARER = {"mcp_url": "https://a.example", "auth_type": "bearer", "bearer_token": SECRET}
LISTINGS = ("tools", "resources", "prompts")
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


async def connect(api: httpx2.AsyncClient, server: McpWorld, **fields: Any) -> str:
    response = await api.post("/mcp/connect", json={"mcp_url": server.url, **fields})
    assert response.status_code == 201, response.text
    client_id: str = response.json()["client_id"]
    return client_id


async def test_connect_answers_201_with_what_the_server_offers(
    api: httpx2.AsyncClient, server: McpWorld
) -> None:
    server.gate.token = SECRET
    response = await api.post(
        "/mcp/connect",
        json={
            "transport": "http",
            "mcp_url": server.url,
            "auth_type": "bearer",
            "bearer_token": SECRET,
            "name": "my-mcp-client",
            "timeout": 30,
        },
    )
    body = response.json()
    assert response.status_code == 201
    assert list(body) == ["status", "client_id", "tools", "resources", "prompts", "message"]
    assert body["status"] == "connected"
    assert re.fullmatch(UUID, body["client_id"])
    assert body["tools"][0]["name"] == "add"
    assert "inputSchema" in body["tools"][0]
    assert SECRET not in response.text


async def test_routes_of_a_connection(api: httpx2.AsyncClient, server: McpWorld) -> None:
    client_id = await connect(api, server, name="n")
    for what, first in (("tools", "add"), ("resources", "note"), ("prompts", "review")):
        listing = (await api.get(f"/mcp/list_{what}", params={"client_id": client_id})).json()
        assert listing["status"] == "success"
        assert listing["client_id"] == client_id
        assert listing["count"] == len(listing[what])
        assert listing[what][0]["name"] == first
    read = await api.post("/mcp/read_resource", json={"client_id": client_id, "uri": "note://one"})
    assert read.json()["content"]["text"] == "noted"
    prompt = await api.post(
        "/mcp/get_prompt",
        json={"client_id": client_id, "prompt_name": "review", "arguments": {"language": "Go"}},
    )
    assert prompt.json()["content"]["messages"][0]["role"] == "user"


async def test_list_that_is_cut_says_so(api: httpx2.AsyncClient, server: McpWorld) -> None:
    server.make_app = make_paging_server(pages=2, page_size=1000).streamable_http_app
    server.running.restart()
    made = (await api.post("/mcp/connect", json={"mcp_url": server.url})).json()
    assert "offers more than is listed" in made["message"]
    query = {"client_id": made["client_id"]}
    tools = (await api.get("/mcp/list_tools", params=query)).json()
    assert (tools["count"], tools["truncated"]) == (1000, True)
    assert "truncated" not in (await api.get("/mcp/list_prompts", params=query)).json()


async def test_call_tool(api: httpx2.AsyncClient, server: McpWorld) -> None:
    client_id = await connect(api, server)
    call = {"client_id": client_id, "tool_name": "add", "arguments": {"a": 1, "b": 2}}
    body = (await api.post("/mcp/call_tool", json=call)).json()
    assert 0 <= body.pop("execution_time") < 20
    assert body == {
        "status": "success",
        "result": {"result": 3},
        "content": [{"type": "text", "text": "3"}],
        "error": None,
    }
    failed = await api.post("/mcp/call_tool", json={"client_id": client_id, "tool_name": "fail"})
    assert failed.status_code == 200
    assert failed.json()["status"] == "error"
    assert "it went wrong" in failed.json()["error"]


@pytest.mark.parametrize(("seconds", "deadline_seconds"), [(0.2, 20), (60, 5)])
async def test_slow_call_answers_408(
    api: httpx2.AsyncClient, server: McpWorld, seconds: float
) -> None:
    client_id = await connect(api, server)
    call = {
        "client_id": client_id,
        "tool_name": "sleep",
        "arguments": {"seconds": 20},
        "timeout": seconds,
    }
    response = await api.post("/mcp/call_tool", json=call)
    assert response.status_code == 408
    assert response.json()["code"] == "deadline_exceeded"


@pytest.mark.parametrize("deadline_seconds", [3])
async def test_stalled_storage_answers_408(
    api: httpx2.AsyncClient, server: McpWorld, store: StateFolder
) -> None:
    client_id = await connect(api, server)
    store.is_stalled = True
    query = {"client_id": client_id}
    responses = await asyncio.gather(
        api.post("/mcp/connect", json={"mcp_url": server.url}),
        api.post("/mcp/call_tool", json={**query, "tool_name": "fail"}),
        api.post("/mcp/read_resource", json={**query, "uri": "note://one"}),
        api.post("/mcp/get_prompt", json={**query, "prompt_name": "review"}),
        api.post("/mcp/disconnect", json=query),
        api.get("/mcp/clients"),
        api.get(f"/mcp/client/{client_id}"),
        *(api.get(f"/mcp/list_{what}", params=query) for what in LISTINGS),
    )
    assert [response.status_code for response in responses] == [408] * 10


@pytest.mark.parametrize("deadline_seconds", [3])
async def test_token_endpoint_that_takes_too_long_ends_the_authorization(
    api: httpx2.AsyncClient, server: McpWorld, authority: Authority
) -> None:
    body = (
        await api.post("/mcp/connect", json={"mcp_url": server.url, "auth_type": "oauth"})
    ).json()
    authority.is_stalled = True
    page = await api.get("/mcp/oauth/callback", params=authority.agree(body["authorization_url"]))
    confirmation = {"client_id": body["client_id"], "code": characters_of(page)}
    confirmed = await api.post("/mcp/oauth/confirm", json=confirmation)
    assert confirmed.status_code == 408
    shown = (await api.get(f"/mcp/client/{body['client_id']}")).json()
    assert shown["metadata"]["status"] == "authorization_failed"


async def test_clients_are_listed_shown_and_ended(
    api: httpx2.AsyncClient, server: McpWorld
) -> None:
    client_id = await connect(api, server, name="my-mcp-client")
    listing = (await api.get("/mcp/clients")).json()
    assert (listing["status"], listing["count"]) == ("success", 1)
    summary = listing["clients"][0]
    assert summary.pop("client_id") == client_id
    shown = (await api.get(f"/mcp/client/{client_id}")).json()
    assert shown == {"status": "success", "client_id": client_id, "metadata": summary}
    assert summary["name"] == "my-mcp-client"
    assert summary["mcp_url"] == server.url
    ended = await api.post("/mcp/disconnect", json={"client_id": client_id})
    assert ended.json() == {
        "status": "disconnected",
        "client_id": client_id,
        "message": "Successfully disconnected from MCP server",
    }
    for response in (
        await api.get(f"/mcp/client/{client_id}"),
        await api.get("/mcp/list_tools", params={"client_id": client_id}),
        await api.post("/mcp/disconnect", json={"client_id": client_id}),
    ):
        assert response.status_code == 404
        assert set(response.json()) == {"detail", "code", "request_id"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "mcp_url"),
        ({"transport": "pigeon", "mcp_url": "https://a.example"}, "transport"),
        ({"transport": "stdio"}, "command"),
        ({"transport": "stdio", "command": ["node", "server.js"]}, "command"),
        ({"mcp_url": "https://a.example", "auth_type": "bearer"}, "bearer_token"),
        ({"mcp_url": "https://a.example", "timeout": 0}, "timeout"),
        (OAUTH | {"oauth_redirect_uri": "x"}, "oauth_redirect_uri"),
        (OAUTH | {"oauth_redirect_uri": "https://attacker.example/"}, "oauth_redirect_uri"),
        (OAUTH | {"oauth_scopes": ["read", "write all"]}, "oauth_scopes"),
        (OAUTH | {"oauth_scopes": ['"read"']}, "oauth_scopes"),
        (OAUTH | {"oauth_scopes": ["читать"]}, "oauth_scopes"),
        (OAUTH | {"oauth_auth_url": "https://a.example/authorize"}, "oauth_token_url"),
        (
            OAUTH
            | {
                "oauth_grant_type": "authorization_code",
                "oauth_token_url": "https://a.example/token",
            },
            "oauth_auth_url",
        ),
        (
            OAUTH
            | {
                "oauth_grant_type": "client_credentials",
                "oauth_auth_url": "https://a.example/authorize",
                "oauth_token_url": "https://a.example/token",
            },
            "oauth_auth_url",
        ),
        (OAUTH | {"bearer_token": SECRET}, "auth_type"),
        ({"mcp_url": "https://a.example", "bearer_token": SECRET}, "auth_type"),
        ({"mcp_url": "https://a.example", "oauth_client_id": "x"}, "auth_type"),
        (BEARER | {"oauth_scopes": ["read"]}, "auth_type"),
        (BEARER | {"bearer_token": f"{SECRET}\nX-Other: 1"}, "bearer_token"),
        (BEARER | {"bearer_token": f" {SECRET}"}, "bearer_token"),
        (BEARER | {"bearer_token": "ключ"}, "bearer_token"),
        ({"mcp_url": "https://a.example", "surprise": 1}, "surprise"),
    ],
)
async def test_wrong_field_answers_422_and_names_it(
    api: httpx2.AsyncClient, fields: dict[str, Any], field: str
) -> None:
    response = await api.post("/mcp/connect", json=fields)
    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"][:2] == ["body", field]
    assert SECRET not in response.text


@pytest.mark.parametrize("url", ["ftp://a.example/", "http://169.254.169.254/mcp", "x"])
async def test_forbidden_address_answers_422(api: httpx2.AsyncClient, url: str) -> None:
    response = await api.post("/mcp/connect", json={"mcp_url": url})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/mcp/connect"),
        ("POST", "/mcp/call_tool"),
        ("POST", "/mcp/disconnect"),
        ("POST", "/mcp/oauth/confirm"),
        ("GET", "/mcp/clients"),
        ("GET", "/mcp/client/x"),
        ("GET", "/mcp/list_tools?client_id=x"),
    ],
)
async def test_without_a_key_nothing_is_told(
    api: httpx2.AsyncClient, method: str, path: str
) -> None:
    response = await api.request(method, path, headers={"Authorization": ""})
    assert response.status_code == 401


def characters_of(page: httpx2.Response) -> str:
    """Returns what a browser is shown at the end of an authorization."""
    assert page.status_code == 200, page.text
    (found,) = re.findall(r"<code>([0-9A-Z]{8})</code>", page.text)
    return str(found)


async def test_authorization_answers_202_and_is_confirmed_with_what_its_page_shows(
    api: httpx2.AsyncClient, server: McpWorld, authority: Authority
) -> None:
    response = await api.post("/mcp/connect", json={"mcp_url": server.url, "auth_type": "oauth"})
    body = response.json()
    assert (response.status_code, body["status"]) == (202, "authorization_required")
    back = authority.agree(body["authorization_url"])
    open_door = {"Authorization": ""}
    page = await api.get("/mcp/oauth/callback", params=back, headers=open_door)
    assert server.url.split("/")[2] in page.text
    assert "Only if you started this yourself" in page.text
    again = await api.get("/mcp/oauth/callback", params=back, headers=open_door)
    assert again.status_code == 404
    client_id = body["client_id"]
    shown = (await api.get(f"/mcp/client/{client_id}")).json()["metadata"]
    assert shown["status"] == "confirming"
    waiting = await api.get("/mcp/list_tools", params={"client_id": client_id})
    assert (waiting.status_code, "POST /mcp/oauth/confirm" in waiting.text) == (502, True)
    confirmation = {"client_id": client_id, "code": characters_of(page)}
    nobody = await api.post("/mcp/oauth/confirm", json=confirmation, headers=open_door)
    assert nobody.status_code == 401
    confirmed = await api.post("/mcp/oauth/confirm", json=confirmation)
    assert confirmed.status_code == 200
    answer = confirmed.json()
    assert answer == {
        "status": "success",
        "client_id": client_id,
        "metadata": {**shown, "status": "connected"},
    }
    tools = await api.get("/mcp/list_tools", params={"client_id": client_id})
    assert tools.json()["count"] == 5


async def confirmation_page(
    api: httpx2.AsyncClient, server: McpWorld, authority: Authority, **fields: Any
) -> httpx2.Response:
    """Returns what a browser is shown that comes back from the authorization server."""
    body = {"mcp_url": server.url, "auth_type": "oauth", **fields}
    begun = (await api.post("/mcp/connect", json=body)).json()
    back = authority.agree(begun["authorization_url"])
    return await api.get("/mcp/oauth/callback", params=back)


async def test_page_shows_nothing_as_html(
    api: httpx2.AsyncClient, server: McpWorld, authority: Authority
) -> None:
    page = await confirmation_page(api, server, authority, name="<script>x</script>")
    assert "<script>" not in page.text
    assert "&lt;script&gt;" in page.text


async def test_page_shows_what_callers_wrote_after_the_warning_and_on_its_own(
    api: httpx2.AsyncClient, server: McpWorld, authority: Authority
) -> None:
    scopes = [f"scope-{number}" for number in range(12)]
    page = await confirmation_page(
        api, server, authority, name="Safe\u202e. Enter\u200b the code", oauth_scopes=scopes
    )
    before, warning, after = page.text.partition("whoever enters them can use your account.</p>")
    assert warning
    assert "Safe" not in before
    assert "scope-" not in before
    assert "<bdi>Safe. Enter the code</bdi>" in after
    assert "<bdi>scope-9</bdi> and 2 more" in after
    assert "scope-10" not in after


async def test_page_is_in_no_frame_and_sends_no_form(
    api: httpx2.AsyncClient, server: McpWorld, authority: Authority
) -> None:
    unknown = await api.get("/mcp/oauth/callback", params={"state": "x"})
    for page in (await confirmation_page(api, server, authority), unknown):
        policy = page.headers["content-security-policy"].split("; ")
        assert {
            "default-src 'none'",
            "frame-ancestors 'none'",
            "form-action 'none'",
            "base-uri 'none'",
        } <= set(policy)
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["cross-origin-opener-policy"] == "same-origin"


async def test_client_metadata_document_names_itself(api: httpx2.AsyncClient) -> None:
    url = f"{ORIGIN}/.well-known/mcp-oauth-client"
    document = (await api.get("/.well-known/mcp-oauth-client")).json()
    assert document["client_id"] == url
    assert document["redirect_uris"] == [f"{ORIGIN}/mcp/oauth/callback"]
