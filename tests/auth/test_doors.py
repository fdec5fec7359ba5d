"""Tokens at the doors of the app: who comes in, who does not, and what they are told."""

import json
import logging
import re
from typing import Any

import httpx2
import pytest

from shared.settings import load_settings
from tests.auth.conftest import Tenant, bearer
from tests.auth.issuer import CLIENT, OWNER, PUBLIC, TENANT
from tests.conftest import AUTH, KEY, MakeClient, digest
from tests.integration.log_lines import request_lines

PRINCIPAL = f"entra:{OWNER}"
LIST_TOOLS = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
MCP_HEADERS = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-11-25",
}
APP_METADATA = f"{PUBLIC}/.well-known/oauth-protected-resource"
MCP_METADATA = f"{APP_METADATA}/mcp"

DOORS = [
    ("GET", "/me", None),
    ("POST", "/tools/server_time", {}),
    ("POST", "/chat", {"message": "Hello"}),
    ("GET", "/conversations", None),
    ("GET", "/v1/models", None),
    ("POST", "/mcp", LIST_TOOLS),
    ("GET", "/usage", None),
    ("GET", "/mcp/clients", None),
    ("GET", "/media", None),
]
ALL_SCOPES = "user_impersonation"


def challenge(response: httpx2.Response) -> dict[str, str]:
    """Returns the parameters of the challenge of a refused request."""
    header = response.headers["www-authenticate"]
    assert header.startswith("Bearer ")
    return dict(re.findall(r'(\w+)="([^"]*)"', header))


async def call(
    client: httpx2.AsyncClient, door: tuple[str, str, Any], headers: dict[str, str]
) -> httpx2.Response:
    method, path, body = door
    headers = headers | (MCP_HEADERS if path == "/mcp" else {})
    return await client.request(method, path, json=body, headers=headers)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door[1])
async def test_token_and_key_open_each_door(
    app_client: httpx2.AsyncClient, tenant: Tenant, door: tuple[str, str, Any]
) -> None:
    token = bearer(tenant.user(scp=ALL_SCOPES))
    for headers in (token, AUTH, {"X-Api-Key": KEY}):
        assert (await call(app_client, door, headers)).status_code == 200


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door[1])
async def test_each_door_says_where_to_get_a_token(
    app_client: httpx2.AsyncClient, tenant: Tenant, door: tuple[str, str, Any]
) -> None:
    is_mcp = door[1] == "/mcp"
    expected = {
        "resource_metadata": MCP_METADATA if is_mcp else APP_METADATA,
        "scope": f"{PUBLIC}{'/mcp' if is_mcp else ''}/user_impersonation",
    }
    refused = await call(app_client, door, {})
    assert (refused.status_code, challenge(refused)) == (401, expected)
    for headers in (bearer(tenant.user(aud="else")), bearer("no-such-key")):
        refused = await call(app_client, door, headers)
        assert refused.status_code == 401
        assert challenge(refused) == expected | {"error": "invalid_token"}
    if door[1].startswith("/v1"):
        assert refused.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    ("door", "scope"),
    [
        (("POST", "/mcp", LIST_TOOLS), "tools"),
        (("POST", "/tools/server_time", {}), "tools"),
        (("POST", "/chat", {"message": "Hello"}), "chat"),
        (("GET", "/v1/models", None), "openai"),
        (("GET", "/mcp/clients", None), "connections"),
        (("GET", "/keys", None), "admin"),
        (("GET", "/usage?principal=else", None), "admin"),
        (("POST", "/api/else/chat", {"message": "Hello"}), "act-as"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else value,
)
async def test_missing_scope_is_named_in_the_challenge(
    app_client: httpx2.AsyncClient, tenant: Tenant, door: tuple[str, str, Any], scope: str
) -> None:
    others = " ".join({"chat", "tools", "connections", "openai"} - {scope}) + " admin act-as"
    refused = await call(app_client, door, bearer(tenant.user(scp=others)))
    assert refused.status_code == 403
    is_mcp = door[1] == "/mcp"
    assert challenge(refused) == {
        "error": "insufficient_scope",
        "resource_metadata": MCP_METADATA if is_mcp else APP_METADATA,
        "scope": f"{PUBLIC}{'/mcp' if is_mcp else ''}/{scope}",
    }
    if door[1].startswith("/v1"):
        assert refused.json()["error"]["type"] == "permission_error"


async def test_metadata_name_the_resource_and_where_to_sign_in(
    app_client: httpx2.AsyncClient, tenant: Tenant
) -> None:
    for path, resource in (("", PUBLIC), ("/mcp", f"{PUBLIC}/mcp")):
        answer = await app_client.get(f"/.well-known/oauth-protected-resource{path}")
        assert answer.json() == {
            "resource": resource,
            "resource_name": "OpenAI MCP Functions",
            "authorization_servers": [f"{tenant.origin}/{TENANT}/v2.0"],
            "bearer_methods_supported": ["header"],
            "scopes_supported": [
                f"{resource}/{scope}"
                for scope in ("user_impersonation", "chat", "tools", "connections", "openai")
            ],
        }
    assert (await app_client.get("/.well-known/oauth-protected-resource/chat")).status_code == 404


async def test_pages_of_any_origin_may_read_the_metadata(app_client: httpx2.AsyncClient) -> None:
    path = "/.well-known/oauth-protected-resource/mcp"
    asked = {
        "Origin": "https://inspector.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "mcp-protocol-version",
    }
    preflight = await app_client.options(path, headers=asked)
    answer = await app_client.get(path, headers={"Origin": "https://inspector.example"})
    for response in (preflight, answer):
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in response.headers


async def test_with_keys_alone_nothing_speaks_of_tokens(
    client: httpx2.AsyncClient, tenant: Tenant
) -> None:
    for path in ("", "/mcp"):
        found = await client.get(f"/.well-known/oauth-protected-resource{path}")
        assert found.status_code == 404
    refused = await client.get("/me", headers=bearer(tenant.user()))
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert "token" not in refused.json()["detail"]
    assert (await client.get("/pages/config.json")).json()["entra"] is None
    assert tenant.requests == []


async def test_page_is_told_where_to_sign_in(
    app_client: httpx2.AsyncClient, tenant: Tenant
) -> None:
    config = (await app_client.get("/pages/config.json")).json()
    assert config["entra"] == {
        "authority": f"{tenant.origin}/{TENANT}",
        "client_id": CLIENT,
        "scope": f"api://{CLIENT}/user_impersonation",
    }
    policy = (await app_client.get("/")).headers["content-security-policy"]
    assert f"connect-src 'self' {tenant.origin};" in policy


async def test_caller_is_shown_by_name_and_known_by_object_id(
    app_client: httpx2.AsyncClient, tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shared")
    token = tenant.user(uti="a-token-id", email="alice@mail.example", upn="alice@upn.example")
    me = (await app_client.get("/me", headers=bearer(token))).json()
    assert (me["principal"], me["display_name"]) == (PRINCIPAL, "alice@example.com")
    assert me["scopes"] == ["chat", "tools"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", me["expires"])
    [line] = request_lines(caplog)
    assert (line["principal"], line["token_id"]) == (PRINCIPAL, "a-token-id")
    assert "example" not in caplog.text
    assert token.split(".")[2] not in caplog.text
    with_key = (await app_client.get("/me", headers=AUTH)).json()
    assert with_key["principal"] == "default"
    assert "display_name" not in with_key


async def test_tokens_need_no_key_and_do_not_wait_for_storage(
    make_client: MakeClient, entra_environment: dict[str, str], tenant: Tenant
) -> None:
    settings = {name: value for name, value in entra_environment.items() if name != "MCP_API_KEY"}
    in_azure = {
        "WEBSITE_SITE_NAME": "app",
        "ENTRA_AUTHORITY": "https://login.example",
        "OPENAI_BASE_URL": "https://api.example",
        "LOCAL_STORAGE_PATH": "",
    }
    client = make_client(settings | in_azure, {})
    health = (await client.get("/health")).json()
    assert health["checks"]["auth"] is True
    assert (await client.get("/me")).status_code == 401
    client = make_client(
        {
            **entra_environment,
            "MCP_API_KEY": "",
            "LOCAL_STORAGE_PATH": "",
            "AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;AccountKey=a2V5;"
            "BlobEndpoint=http://127.0.0.1:9/a",
        },
        {},
    )
    assert (await client.get("/me", headers=bearer(tenant.user()))).status_code == 200


async def test_no_key_is_generated_where_people_sign_in(
    make_client: MakeClient, entra_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    make_client({**entra_environment, "MCP_API_KEY": ""})
    assert "No API key" not in capsys.readouterr().out


async def test_key_beside_a_token(app_client: httpx2.AsyncClient, tenant: Tenant) -> None:
    both = {**bearer(tenant.user()), "X-Api-Key": KEY}
    refused = await app_client.get("/me", headers=both)
    assert refused.status_code == 401
    assert "a key and a token" in refused.json()["detail"]
    expired = {**bearer(tenant.user(exp=1)), "X-Api-Key": KEY}
    assert (await app_client.get("/me", headers=expired)).json()["principal"] == "default"
    wrong = {**bearer(tenant.user()), "X-Api-Key": "no-such-key"}
    assert (await app_client.get("/me", headers=wrong)).json()["principal"] == PRINCIPAL


async def test_key_that_looks_like_a_token_is_a_key(
    make_client: MakeClient, entra_environment: dict[str, str], tenant: Tenant
) -> None:
    key = tenant.user(aud="another-service")
    client = make_client({**entra_environment, "API_KEYS": json.dumps({"old": digest(key)})}, {})
    assert (await client.get("/me", headers=bearer(key))).json()["principal"] == "old"


async def test_roles_let_a_program_act_as_users_and_manage(
    app_client: httpx2.AsyncClient, tenant: Tenant
) -> None:
    plain = bearer(tenant.app(roles=["tools"]))
    acting = bearer(tenant.app(roles=["tools", "chat", "act-as"]))
    admin = bearer(tenant.app(roles=["admin"]))
    other = "entra:0A1b2c3d-0000-4000-8000-000000000001"
    me = await app_client.get("/me", headers={**acting, "X-User-Id": other})
    assert me.json()["principal"] == other.lower()
    assert me.json()["spoken_for_by"] == PRINCIPAL
    assert "display_name" not in me.json()
    assert (await app_client.get("/me", headers={**plain, "X-User-Id": other})).status_code == 403
    assert (await app_client.get("/keys", headers=admin)).status_code == 200
    assert (await app_client.get("/keys", headers=acting)).status_code == 403


async def test_conversation_of_a_person_is_theirs_alone_and_can_be_deleted(
    app_client: httpx2.AsyncClient, tenant: Tenant
) -> None:
    alice = bearer(tenant.user(scp=ALL_SCOPES))
    bob = bearer(tenant.user(scp=ALL_SCOPES, oid="0a1b2c3d-0000-4000-8000-000000000001"))
    answer = await app_client.post("/chat", json={"message": "Hello"}, headers=alice)
    path = f"/conversations/{answer.json()['conversation_id']}"
    assert (await app_client.get(path, headers=bob)).status_code == 404
    assert (await app_client.get(path, headers=alice)).status_code == 200
    admin = bearer(tenant.app(roles=["admin"]))
    deleted = await app_client.delete(f"/principals/entra:{OWNER.upper()}", headers=admin)
    assert deleted.status_code == 204
    assert (await app_client.get(path, headers=alice)).status_code == 404


ROLE_LIMITS = {"trial": {"requests_per_day": 1}, "staff": {"requests_per_day": 5}}


async def test_limits_come_by_role(
    make_client: MakeClient, entra_environment: dict[str, str], tenant: Tenant
) -> None:
    limits = {"LIMITS": '{"requests_per_day": 3}', "ROLE_LIMITS": json.dumps(ROLE_LIMITS)}
    client = make_client(entra_environment | limits, {})

    async def allowed(**claims: Any) -> float:
        me = await client.get("/me", headers=bearer(tenant.user(**claims)))
        limit: float = me.json()["limits"]["requests_per_day"]["limit"]
        return limit

    assert await allowed() == 3
    assert await allowed(roles=["else"]) == 3
    assert await allowed(roles=["staff"]) == 5
    assert await allowed(roles=["staff", "trial"]) == 1
    headers = bearer(tenant.user(scp="tools", roles=["trial"]))
    spent = [
        await client.post("/tools/generate", json={"prompt": "Hi"}, headers=headers)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in spent] == [200, 429]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ENTRA_CLIENT_ID": ""}, "The setting ENTRA_CLIENT_ID is missing: ENTRA_TENANT_ID needs"),
        ({"ENTRA_TENANT_ID": ""}, "The setting ENTRA_TENANT_ID is missing: ENTRA_CLIENT_ID needs"),
        ({"ENTRA_TENANT_ID": "common"}, "The setting ENTRA_TENANT_ID is not an id such as"),
        ({"ENTRA_AUTHORITY": "http://login.example"}, "ENTRA_AUTHORITY must begin with https://"),
        ({"WEBSITE_SITE_NAME": "app"}, "ENTRA_AUTHORITY must begin with https:// in Azure"),
        (
            {"ENTRA_AUDIENCES": "https://graph.microsoft.com"},
            "The setting ENTRA_AUDIENCES, entry 0, names Microsoft Graph",
        ),
    ],
)
def test_half_a_configuration_is_named(
    entra_environment: dict[str, str], changes: dict[str, str], sentence: str
) -> None:
    assert sentence in " ".join(load_settings(entra_environment | changes).problems)
