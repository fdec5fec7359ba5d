import json
import logging
import re
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx2
import pytest

from shared.key_text import KEY_PATTERN, has_valid_checksum
from tests.conftest import MakeClient, digest
from tests.keys.conftest import AS_ADMIN, Create, admin_settings, status
from tests.storage import azurite as azurite_process

pytestmark = pytest.mark.any_python

GRANT = {
    "scopes": ["chat", "tools"],
    "expires": "2999-01-31",
    "models": ["gpt-6-*"],
    "limits": {"requests_per_day": 40, "usd_per_month": 2.5},
}


async def test_made_key_is_shown_once_and_may_do_what_it_was_made_for(
    admin: httpx2.AsyncClient, create: Create
) -> None:
    made = await create("ann", **GRANT)
    key = made["key"]
    assert made == {"name": "ann", "key": key, **GRANT}
    assert re.fullmatch(KEY_PATTERN, key)
    assert has_valid_checksum(key)
    me = await admin.get("/me", headers={"X-Api-Key": key})
    assert me.json() == {
        "principal": "ann",
        "scopes": ["chat", "tools"],
        "models": ["gpt-6-*"],
        "limits": {
            "requests_per_day": {"limit": 40, "used": 0, "resets_at": ANY},
            "usd_per_month": {"limit": 2.5, "used": 0, "resets_at": ANY},
        },
        "usage": {"requests_per_day": 0, "usd_per_month": 0},
        "expires": "2999-01-31",
        "spoken_for_by": None,
    }
    (listed,) = (await admin.get("/keys")).json()["keys"]
    assert listed.pop("created_at").endswith("Z")
    assert listed == {
        "name": "ann",
        **GRANT,
        "created_by": "boss",
        "rotated_at": None,
        "valid_keys": 1,
        "problem": None,
    }


async def test_key_has_the_default_four_scopes_and_is_not_kept_by_caches(
    admin: httpx2.AsyncClient,
) -> None:
    response = await admin.post("/keys", json={"name": "ann"})
    assert response.headers["cache-control"] == "no-store"
    made = response.json()
    del made["key"]
    assert made == {
        "name": "ann",
        "scopes": ["chat", "tools", "connections", "openai"],
        "expires": None,
        "models": None,
        "limits": None,
    }


def contents(folder: Path) -> list[bytes]:
    """Returns what is in all files of a folder."""
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


async def test_only_digests_are_stored(
    make_client: MakeClient, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = make_client(environment | admin_settings(), AS_ADMIN)
    keys = [(await client.post("/keys", json={"name": "ann"})).json()["key"]]
    keys.append((await client.post("/keys/ann/rotate")).json()["key"])
    stored = contents(Path(environment["LOCAL_STORAGE_PATH"]))
    assert any(digest(keys[1]).encode() in content for content in stored)
    for key in keys:
        assert not any(key.encode() in content for content in stored)
        assert key not in caplog.text


async def test_rotated_key_is_valid_for_the_overlap_beside_the_new_one(
    admin: httpx2.AsyncClient, create: Create
) -> None:
    first = (await create("ann", **GRANT))["key"]
    rotated = (await admin.post("/keys/ann/rotate", json={"overlap_seconds": 600})).json()
    second = rotated["key"]
    assert rotated == {"name": "ann", "key": second, **GRANT}
    assert [await status(admin, key) for key in (first, second)] == [200, 200]
    (listed,) = (await admin.get("/keys")).json()["keys"]
    assert listed["valid_keys"] == 2
    third = (await admin.post("/keys/ann/rotate")).json()["key"]
    assert [await status(admin, key) for key in (first, second, third)] == [401, 401, 200]


async def test_changed_key_may_do_at_once_what_the_change_says(
    admin: httpx2.AsyncClient, create: Create
) -> None:
    key = (await create("ann", **GRANT))["key"]
    response = await admin.patch("/keys/ann", json={"scopes": ["chat"], "models": None})
    changed = {"name": "ann", **GRANT, "scopes": ["chat"], "models": None}
    assert (response.status_code, response.json()) == (200, changed)
    refused = await admin.get("/tools", headers={"X-Api-Key": key})
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert "PATCH /keys" in refused.json()["detail"]
    response = await admin.patch(
        "/keys/ann", json={"scopes": None, "expires": None, "limits": None}
    )
    assert response.json()["scopes"] == ["chat", "tools", "connections", "openai"]
    assert (response.json()["expires"], response.json()["limits"]) == (None, None)
    assert await status(admin, key, "/tools") == 200


async def test_deleted_key_is_refused_and_its_name_is_free_again(
    admin: httpx2.AsyncClient, create: Create
) -> None:
    first = (await create("ann"))["key"]
    assert (await admin.delete("/keys/ann")).status_code == 204
    assert await status(admin, first) == 401
    assert (await admin.delete("/keys/ann")).status_code == 404
    second = (await create("ann"))["key"]
    assert [await status(admin, key) for key in (first, second)] == [401, 200]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"),
        ({"name": "entra:0a1b2c3d-0000-4000-8000-000000000001"}, "invalid_request"),
        ({"name": "a:b"}, "invalid_request"),
        ({"name": ".."}, "invalid_request"),
        ({"name": "a/../b"}, "invalid_request"),
        ({"name": "\u0430nn"}, "invalid_request"),
        ({"name": ""}, "invalid_request"),
        ({"name": "x" * 129}, "invalid_request"),
        ({"name": "ann\n"}, "invalid_request"),
        ({"name": "ann", "scopes": ["everything"]}, "invalid_request"),
        ({"name": "ann", "expires": "2020-01-31"}, "invalid_request"),
        ({"name": "ann", "expires": "tomorrow"}, "invalid_request"),
        ({"name": "ann", "models": "gpt-6"}, "invalid_request"),
        ({"name": "ann", "limits": {"usd_per_week": 1}}, "invalid_request"),
        ({"name": "ann", "limits": {"requests_per_day": -1}}, "invalid_request"),
        ({"name": "ann", "sha256": "0" * 64}, "invalid_request"),
        ({"name": "boss"}, "conflict"),
        ({"name": "default"}, "conflict"),
        ({"name": "broken"}, "conflict"),
    ],
)
async def test_key_that_cannot_be_made_is_refused_with_its_field(
    make_client: MakeClient, environment: dict[str, str], body: dict[str, Any], code: str
) -> None:
    client = make_client(environment | admin_settings(broken=7), AS_ADMIN)
    response = await client.post("/keys", json=body)
    assert response.status_code == (409 if code == "conflict" else 422)
    assert response.json()["code"] == code
    assert (await client.get("/keys")).json()["keys"] == []


async def test_name_cannot_be_made_twice(admin: httpx2.AsyncClient, create: Create) -> None:
    key = (await create("ann"))["key"]
    response = await admin.post("/keys", json={"name": "ann", "scopes": ["admin"]})
    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    assert await status(admin, key) == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("POST", "/keys/ann/rotate"),
        ("PATCH", "/keys/ann"),
        ("DELETE", "/keys/ann"),
        ("DELETE", "/principals/ann"),
    ],
)
async def test_keys_are_managed_with_the_scope_admin_only(
    make_client: MakeClient, environment: dict[str, str], method: str, path: str
) -> None:
    web = {
        "sha256": digest("web-key"),
        "scopes": ["chat", "tools", "connections", "openai", "act-as"],
    }
    both = {"sha256": digest("both-key"), "scopes": ["act-as", "admin"]}
    client = make_client(environment | admin_settings(web=web, both=both), {})
    body = {"name": "ann"} if method == "POST" else None
    for headers in ({"X-Api-Key": "web-key"}, {"X-Api-Key": "web-key", "X-User-Id": "boss"}):
        response = await client.request(method, path, json=body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")
    for headers in ({}, {"X-Api-Key": "wrong"}):
        assert (await client.request(method, path, json=body, headers=headers)).status_code == 401
    lent = {"X-Api-Key": "both-key", "X-User-Id": "eve"}
    response = await client.request(method, path, json=body, headers=lent)
    assert response.status_code == 403
    assert "not lent" in response.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/rotate"), ("PATCH", ""), ("DELETE", "")],
)
async def test_unknown_keys_are_not_found_and_those_of_settings_stay_there(
    admin: httpx2.AsyncClient, create: Create, method: str, path: str
) -> None:
    for _ in range(2):
        for name in ("ann", "%2e%2e%2ftasks", "a%00b", "entra:x"):
            response = await admin.request(method, f"/keys/{name}{path}", json={})
            assert (response.status_code, response.json()["code"]) == (404, "not_found"), name
        response = await admin.request(method, f"/keys/boss{path}", json={})
        assert (response.status_code, response.json()["code"]) == (409, "conflict")
        await create(f"other-{_}")


@pytest.mark.parametrize(
    "entry", [7, {"sha256": digest("x"), "expires": "2020-01-31"}, digest("x")]
)
async def test_name_that_the_settings_take_later_lets_the_stored_key_in_no_more(
    make_client: MakeClient, environment: dict[str, str], entry: Any
) -> None:
    before = make_client(environment | admin_settings(), AS_ADMIN)
    key = (await before.post("/keys", json={"name": "ann"})).json()["key"]
    assert await status(before, key) == 200
    after = make_client(environment | admin_settings(ann=entry), AS_ADMIN)
    assert await status(after, key) == 401
    (listed,) = (await after.get("/keys")).json()["keys"]
    assert (listed["valid_keys"], listed["problem"]) == (
        0,
        "The name belongs to the app settings, which come first.",
    )
    assert (await after.delete("/keys/ann")).status_code == 204
    assert (await after.get("/keys")).json()["keys"] == []


async def test_expired_key_is_refused_and_cannot_be_rotated(
    admin: httpx2.AsyncClient, create: Create
) -> None:
    await create("ann")
    response = await admin.patch("/keys/ann", json={"expires": "2020-01-31"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_stored_keys_of_two_names_in_one_request_are_refused(
    admin: httpx2.AsyncClient, create: Create
) -> None:
    ann, bob = [(await create(name))["key"] for name in ("ann", "bob")]
    headers = {"X-Api-Key": ann, "Authorization": f"Bearer {bob}"}
    response = await admin.get("/server_time", headers=headers)
    assert response.status_code == 401
    mixed = await admin.get("/server_time", headers={"Authorization": f"Bearer {bob}"})
    assert (mixed.status_code, "send only one" in mixed.json()["detail"]) == (401, True)


async def test_limits_and_models_of_a_stored_user_hold_where_a_front_end_speaks_for_it(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    web = {
        "sha256": digest("web-key"),
        "scopes": ["chat", "tools", "act-as"],
        "models": ["gpt-*"],
        "limits": {"parallel": 3},
    }
    client = make_client(environment | admin_settings(web=web), AS_ADMIN)
    await client.post(
        "/keys", json={"name": "ann", "models": ["*-luna"], "limits": {"parallel": 1}}
    )
    spoken = {"X-Api-Key": "web-key", "X-User-Id": "ann"}
    me = (await client.get("/me", headers=spoken)).json()
    assert (me["principal"], me["spoken_for_by"]) == ("ann", "web")
    assert (me["models"], me["limits"]["parallel"]["limit"]) == (["gpt-*-luna", "gpt-luna"], 1)
    statuses = [
        (
            await client.post(
                "/tools/generate", json={"prompt": "hi", "model": model}, headers=spoken
            )
        ).status_code
        for model in ("gpt-6-luna", "gpt-6-sol", "o9-luna")
    ]
    assert statuses == [200, 403, 403]


async def test_each_change_is_a_line_in_the_log_and_a_stored_record(
    make_client: MakeClient, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shared")
    client = make_client(environment | admin_settings(), AS_ADMIN)
    await client.post("/keys", json={"name": "ann", "scopes": ["chat"]})
    await client.post("/keys", json={"name": "ann"})
    await client.post("/keys/ann/rotate", json={"overlap_seconds": 60})
    await client.patch("/keys/ann", json={"models": ["gpt-6-*"]})
    await client.delete("/keys/ann")
    await client.delete("/principals/ann")
    expected = [
        ("keys_create", "ok"),
        ("keys_create", "conflict"),
        ("key_rotate", "ok"),
        ("key_update", "ok"),
        ("key_delete", "ok"),
        ("principal_delete", "ok"),
    ]
    lines = [
        json.loads(text.removeprefix("admin "))
        for text in caplog.messages
        if text.startswith("admin ")
    ]
    assert lines == [
        {"who": "boss", "what": what, "target": "ann", "outcome": outcome}
        for what, outcome in expected
    ]
    folder = Path(environment["LOCAL_STORAGE_PATH"]) / "state" / "changes"
    records = sorted(map(json.loads, contents(folder)), key=lambda record: record["at"])
    assert [(record["what"], record["outcome"]) for record in records] == expected
    # The principal is deleted at last, and its name with it.
    pseudonym = records[0]["target"]
    assert re.fullmatch(r"deleted-[0-9a-f]{12}", pseudonym)
    assert {(record["who"], record["target"]) for record in records} == {("boss", pseudonym)}
    assert records[3]["details"] == {"models": ["gpt-6-*"]}


async def test_stored_keys_are_enough_to_open_an_app_in_azure(
    make_client: MakeClient, azurite: str
) -> None:
    storage = azurite_process.blob_settings(azurite)
    maker = make_client(storage | admin_settings(), AS_ADMIN)
    empty = make_client(storage | {"WEBSITE_SITE_NAME": "app"}, {"X-Api-Key": "x" * 30})
    response = await empty.get("/server_time")
    assert (response.status_code, response.json()["code"]) == (503, "auth_not_configured")
    assert (await empty.get("/health")).json()["checks"]["auth"] is False
    key = (await maker.post("/keys", json={"name": "ann"})).json()["key"]
    client = make_client(storage | {"WEBSITE_SITE_NAME": "app"}, {})
    assert (await client.get("/health")).json()["checks"]["auth"] is True
    assert [await status(client, each) for each in (key, "x" * 30)] == [200, 401]


async def test_changes_are_listed_newest_first_in_pages(
    admin: httpx2.AsyncClient, create: Create
) -> None:
    await create("ann", models=["gpt-6-*"])
    await admin.post("/keys/ann/rotate", json={"overlap_seconds": 60})
    await admin.delete("/keys/bob")
    query = {"limit": "2"}
    found = []
    while True:
        page = (await admin.get("/changes", params=query)).json()
        found += page["changes"]
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]
    assert [(each["who"], each["what"], each["target"], each["outcome"]) for each in found] == [
        ("boss", "key_delete", "bob", "not_found"),
        ("boss", "key_rotate", "ann", "ok"),
        ("boss", "keys_create", "ann", "ok"),
    ]
    assert found[1]["details"] == {"overlap_seconds": 60}
    assert found[2]["details"]["models"] == ["gpt-6-*"]
    assert found[0]["at"] > found[2]["at"]
    wrong = await admin.get("/changes", params={"cursor": "%"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")


async def test_changes_are_shown_to_admin_only(create: Create, admin: httpx2.AsyncClient) -> None:
    made = await create("ann")
    assert await status(admin, made["key"], "/changes") == 403


async def test_me_of_a_user_whom_a_key_speaks_for_shows_what_really_applies(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    front_end = {
        "sha256": digest("front-end"),
        "scopes": ["tools", "act-as"],
        "models": ["gpt-6-*", "o9"],
        "limits": {"requests_per_day": 2, "tokens_per_day": 100_000},
    }
    ann = {
        "sha256": digest("ann-key"),
        "models": ["*-luna", "o9*"],
        "limits": {"requests_per_day": 5, "parallel": 3},
    }
    settings = {
        "API_KEYS": json.dumps({"web": front_end, "ann": ann}),
        "ALLOWED_MODELS": "gpt-*,o9",
    }
    client = make_client(environment | settings, {"X-Api-Key": "front-end"})
    as_ann = {"X-User-Id": "ann"}
    called = await client.post("/tools/generate", json={"prompt": "hi"}, headers=as_ann)
    assert called.is_success
    me = (await client.get("/me", headers=as_ann)).json()
    assert me["principal"] == "ann"
    assert me["spoken_for_by"] == "web"
    assert me["models"] == ["gpt-6-*-luna", "gpt-6-luna", "o9"]
    limits = me["limits"]
    assert limits.keys() == {"requests_per_day", "tokens_per_day", "parallel"}
    assert (limits["requests_per_day"]["limit"], limits["requests_per_day"]["used"]) == (2, 1)
    assert limits["tokens_per_day"]["used"] > 0
    assert limits["parallel"]["limit"] == 3
    own = (await client.get("/me")).json()
    assert own["models"] == ["gpt-6-*", "o9"]
