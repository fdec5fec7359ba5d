import json
import logging
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from shared.auth import KeyAuthenticator
from shared.errors import Unauthorized
from shared.settings import load_settings
from tests.conftest import KEY, MakeClient, digest

PROTECTED = [
    ("GET", "/tools"),
    ("GET", "/server_time"),
    ("POST", "/tools/server_time"),
    ("POST", "/tools/chat_completion"),
    ("POST", "/chat"),
    ("POST", "/mcp"),
    ("GET", "/health?deep=true"),
]

NO_KEY: list[dict[str, str]] = [
    {},
    {"Authorization": "Bearer wrong-key"},
    {"Authorization": f"Basic {KEY}"},
    {"Authorization": KEY},
    {"Authorization": "Bearer"},
    {"X-Api-Key": "wrong-key"},
    {"x-functions-key": "wrong-key"},
    {"Authorization": "Bearer wrong-key", "X-Api-Key": "wrong-key"},
    {"Cookie": f"key={KEY}"},
    {"X-Key": KEY},
]


@pytest.mark.parametrize("headers", NO_KEY)
@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_without_a_valid_key_every_protected_route_answers_401(
    make_client: MakeClient,
    environment: dict[str, str],
    method: str,
    path: str,
    headers: dict[str, str],
) -> None:
    response = await make_client(environment, headers).request(method, path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json() == {
        "detail": Unauthorized().detail,
        "code": "unauthorized",
        "request_id": response.headers["x-request-id"],
    }


@pytest.mark.parametrize("parameter", ["code", "key", "api_key", "apikey", "access_token"])
async def test_key_in_the_url_lets_nobody_in_and_is_not_logged(
    make_client: MakeClient,
    environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    parameter: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    client = make_client(environment, {})
    response = await client.get(f"/tools?{parameter}={KEY}")
    assert response.status_code == 401
    response = await client.post("/chat", json={"message": "hi", parameter: KEY})
    assert response.status_code == 401
    assert KEY not in caplog.text


async def test_wrong_key_is_not_logged(
    make_client: MakeClient, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for headers in NO_KEY:
        await make_client(environment, headers).get("/tools")
    assert "request " in caplog.text
    assert "wrong-key" not in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {KEY}"},
        {"X-Api-Key": KEY},
        {"x-functions-key": KEY},
        {"Authorization": "Bearer wrong-key", "X-Api-Key": KEY},
    ],
)
async def test_key_counts_in_each_of_its_headers(
    make_client: MakeClient, environment: dict[str, str], headers: dict[str, str]
) -> None:
    response = await make_client(environment, headers).get("/tools")
    assert response.status_code == 200


@pytest.mark.parametrize("setting", ["MCP_API_KEY", "MCP_SERVER_API_KEY"])
async def test_shared_key_has_two_names(make_client: MakeClient, setting: str) -> None:
    client = make_client({setting: "shared"}, {"X-Api-Key": "shared"})
    assert (await client.get("/server_time")).status_code == 200


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("chat", {"/chat"}), ("tools", {"/tools/server_time", "/mcp"}), ("connections", set())],
)
async def test_missing_scope_answers_403(
    make_client: MakeClient, environment: dict[str, str], scope: str, allowed: set[str]
) -> None:
    key = {"sha256": digest("k"), "scopes": [scope]}
    environment |= {"API_KEYS": json.dumps({"limited": key})}
    client = make_client(environment, {"X-Api-Key": "k"})
    for path in ("/chat", "/tools/server_time", "/mcp"):
        response = await client.post(path)
        if path in allowed:
            assert response.status_code != 403
        else:
            assert response.status_code == 403
            assert response.json()["code"] == "insufficient_scope"
            assert "API_KEYS" in response.json()["detail"]


async def test_key_is_checked_before_the_body_is_looked_at(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    response = await make_client(environment, {}).post("/chat", content=b"{broken")
    assert response.status_code == 401


async def test_key_may_have_any_letters(make_client: MakeClient) -> None:
    client = make_client({"MCP_API_KEY": "schlüssel-鍵"}, {})
    presented = "schlüssel-鍵".encode()
    response = await client.get("/tools", headers=[(b"X-Api-Key", presented)])
    assert response.status_code == 200


async def call_as(client: httpx2.AsyncClient, user: str) -> httpx2.Response:
    return await client.post("/tools/server_time", headers={"X-User-Id": user})


async def test_only_act_as_may_name_a_user(
    make_client: MakeClient, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    front_end = {"sha256": digest("front"), "scopes": ["tools", "act-as"]}
    environment |= {"API_KEYS": json.dumps({"front-end": front_end, "plain": digest("plain")})}

    allowed = make_client(environment, {"X-Api-Key": "front"})
    assert (await call_as(allowed, "ada@example.com")).status_code == 200
    assert '"principal": "ada@example.com"' in caplog.text
    response = await call_as(allowed, "../ada")
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert "X-User-Id" in response.json()["detail"]

    for key in ("plain", KEY):
        response = await call_as(make_client(environment, {"X-Api-Key": key}), "ada")
        assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")
        assert "act-as" in response.json()["detail"]


async def test_azure_without_any_key_is_closed(make_client: MakeClient) -> None:
    client = make_client({"WEBSITE_SITE_NAME": "app"}, {"X-Api-Key": "anything"})
    response = await client.get("/tools")
    assert response.status_code == 503
    assert response.json()["code"] == "auth_not_configured"
    assert "MCP_API_KEY" in response.json()["detail"]


async def test_locally_a_key_is_generated_and_printed_once(
    make_client: MakeClient, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = make_client({}, {})
    printed = capsys.readouterr().out
    key = printed.split()[-1]
    assert len(key) >= 43
    assert (await client.get("/tools")).status_code == 401
    response = await client.get("/tools", headers={"X-Api-Key": key})
    assert response.status_code == 200
    assert key not in caplog.text
    assert capsys.readouterr().out == ""


async def test_open_routes_want_no_key(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(environment, {})
    for path in ("/health", "/openapi.json", "/docs", "/redoc", "/docs/docs.js"):
        assert (await client.get(path)).status_code == 200


async def test_shared_key_that_has_a_name_is_its_owners(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    keys = {"alice": {"sha256": digest(KEY), "scopes": ["chat"]}}
    client = make_client(environment | {"API_KEYS": json.dumps(keys), "MCP_API_KEY": KEY})
    assert (await client.get("/tools")).json()["code"] == "insufficient_scope"


async def test_log_names_who_was_refused_and_who_spoke_for_whom(
    make_client: MakeClient, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shared")
    keys = {"web": {"sha256": digest("web-key"), "scopes": ["chat", "act-as"]}}
    client = make_client(
        environment | {"API_KEYS": json.dumps(keys)}, {"X-Api-Key": "web-key", "X-User-Id": "ann"}
    )
    await client.get("/tools")
    await client.get("/conversations")
    refused, spoken = (json.loads(text.removeprefix("request ")) for text in caplog.messages)
    assert (refused["status"], refused["principal"]) == (403, "web")
    assert (spoken["principal"], spoken["spoken_for_by"]) == ("ann", "web")


@pytest.mark.parametrize("order", [["alice", "bob"], ["bob", "alice"]])
@pytest.mark.parametrize("path", ["/tools", "/mcp", "/chat"])
async def test_two_different_valid_keys_are_refused_whatever_their_order(
    make_client: MakeClient, environment: dict[str, str], order: list[str], path: str
) -> None:
    keys = json.dumps({name: digest(f"key-of-{name}") for name in order})
    headers = {"Authorization": "Bearer key-of-alice", "X-Api-Key": "key-of-bob"}
    client = make_client(environment | {"API_KEYS": keys}, headers)
    response = await (client.get(path) if path == "/tools" else client.post(path, json={}))
    body = response.json()
    assert (response.status_code, body["code"]) == (401, "unauthorized")
    assert "send only one" in body["detail"]


async def test_the_same_key_in_two_headers_is_one_key(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "X-Api-Key": KEY}
    assert (await make_client(environment, headers).get("/tools")).status_code == 200


@pytest.mark.parametrize("header", ["X-Api-Key", "Authorization"])
async def test_short_key_does_not_count_in_azure_although_its_digest_is_configured(
    make_client: MakeClient, header: str
) -> None:
    short, long = "x" * 19, "x" * 20
    keys = json.dumps({"short": digest(short), "long": digest(long)})
    in_azure, local = {"API_KEYS": keys, "WEBSITE_SITE_NAME": "app"}, {"API_KEYS": keys}

    async def answer(environment: dict[str, str], key: str) -> httpx2.Response:
        headers = {header: f"Bearer {key}" if header == "Authorization" else key}
        return await make_client(environment, headers).get("/server_time")

    assert (await answer(local, short)).status_code == 200
    assert (await answer(in_azure, long)).status_code == 200
    refused, unknown = await answer(in_azure, short), await answer(in_azure, "y" * 19)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert refused.json()["detail"].startswith("Keys of fewer than 20 characters do not count.")
    assert unknown.json()["detail"] == refused.json()["detail"]


def entries(**values: object) -> dict[str, str]:
    return {"API_KEYS": json.dumps(values)}


async def test_malformed_and_expired_entries_let_nobody_in_and_stop_nobody_else(
    make_client: MakeClient, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    keys = entries(
        alice=digest("alice-key"),
        bob={"sha256": digest("bob-key"), "expiry": "2027-01-31"},
        carol={"sha256": digest("carol-key"), "expires": "2020-01-31"},
    )
    client = make_client(environment | keys, {})
    problems = [
        "The setting API_KEYS, entry bob.expiry, is not known.",
        "The setting API_KEYS, entry carol, expired on 2020-01-31.",
    ]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == problems
    answers = {}
    for name in ("alice", "bob", "carol"):
        response = await client.get("/server_time", headers={"X-Api-Key": f"{name}-key"})
        answers[name] = response.status_code
    assert answers == {"alice": 200, "bob": 401, "carol": 401}
    known = await client.get("/health", headers={"X-Api-Key": "alice-key"})
    assert (known.status_code, known.json()["status"]) == (200, "degraded")
    assert known.json()["problems"] == problems
    strangers = [
        await client.get("/health", headers=headers) for headers in ({}, {"X-Api-Key": "x"})
    ]
    for response in strangers:
        (problem,) = response.json()["problems"]
        assert problem.startswith("The setting API_KEYS has entries that let nobody in.")
        assert "bob" not in response.text
        assert "carol" not in response.text


async def test_entries_that_are_all_malformed_do_not_open_the_app(
    make_client: MakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client = make_client(entries(alice=7), {"X-Api-Key": "alice"})
    response = await client.get("/tools")
    assert (response.status_code, response.json()["code"]) == (503, "auth_not_configured")
    assert "alice" not in response.text
    assert capsys.readouterr().out == ""


async def test_several_keys_of_one_name_are_valid_side_by_side(make_client: MakeClient) -> None:
    client = make_client(entries(web={"sha256": [digest("old"), digest("new")]}), {})
    for key, status in (("old", 200), ("new", 200), ("older", 401)):
        response = await client.get("/server_time", headers={"X-Api-Key": key})
        assert response.status_code == status, key


async def test_key_that_expires_while_the_app_runs_is_refused_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = datetime(2027, 1, 31, 23, 59, tzinfo=UTC)
    settings = load_settings(entries(web={"sha256": digest("k"), "expires": "2027-01-31"}))
    authenticator = KeyAuthenticator(settings, clock=lambda: now)
    header = {"x-api-key": "k"}.get
    assert await authenticator.authenticate(header)
    now += timedelta(minutes=1)
    for _ in range(2):
        with pytest.raises(Unauthorized, match="This key has expired"):
            await authenticator.authenticate(header)
    assert caplog.messages == ["A key of web is used that has expired."]


OID = "entra:0A1b2c3d-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("user", "name"), [("ada", "ada"), (OID, OID.lower()), ("entra:ada", None), ("a:b", None)]
)
async def test_users_may_be_named_as_keys_or_as_entra_names_them(
    make_client: MakeClient,
    environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    user: str,
    name: str | None,
) -> None:
    caplog.set_level(logging.INFO, "shared")
    web = {"sha256": digest("web-key"), "scopes": ["chat", "tools", "act-as"]}
    client = make_client(environment | entries(web=web), {"X-Api-Key": "web-key"})
    by_header = await call_as(client, user)
    by_route = await client.post(f"/api/{user}/chat", json={"message": "hi"})
    assert (by_header.status_code, by_route.status_code) == ((200, 200) if name else (422, 422))
    lines = [json.loads(text.removeprefix("request ")) for text in caplog.messages]
    assert {line["principal"] for line in lines} == {name or "web"}


async def test_front_end_does_not_lend_its_own_powers_to_users(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    web = {"sha256": digest("web-key"), "scopes": ["chat", "act-as", "admin"]}
    client = make_client(
        environment | entries(web=web), {"X-Api-Key": "web-key", "X-User-Id": "ada"}
    )
    response = await client.post("/api/bob/chat", json={"message": "hi"})
    assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "X-User-Id"])
async def test_header_that_says_two_things_lets_nobody_in(
    make_client: MakeClient, environment: dict[str, str], name: str
) -> None:
    keys = {"one": "key-number-one", "two": "key-number-two"}
    records = {
        principal: {"sha256": digest(key), "scopes": ["tools", "act-as"]}
        for principal, key in keys.items()
    }
    settings = environment | {"MCP_API_KEY": "", "API_KEYS": json.dumps(records)}
    client = make_client(settings, headers={})
    prefix = "Bearer " if name == "Authorization" else ""
    given = [(name, f"{prefix}{key}") for key in keys.values()]
    if name == "X-User-Id":
        given.append(("X-Api-Key", keys["one"]))
    refused = await client.get("/tools", headers=given)
    assert refused.status_code == 401
    assert f"The header {name.lower()} is there twice" in refused.json()["detail"]
    once = await client.get("/tools", headers=[given[0], given[0], *given[2:]])
    assert once.status_code == 200
