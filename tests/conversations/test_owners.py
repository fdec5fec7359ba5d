"""Whose a conversation is: nobody else reads, lists, continues or deletes it, by any door."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from shared.app import create_app
from shared.settings import load_settings
from shared.storage import new_id
from tests.conftest import MakeClient, StandIn, ThreadServer, digest
from tests.conversations.conftest import Talk
from tests.mcp.support import connected

KEYS = {name: f"key-of-{name}" for name in ("alice", "bob", "front", "tools-only")}
SCOPES = {"front": ["chat", "tools", "act-as"], "tools-only": ["tools"]}


def key_of(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


@pytest.fixture
def keys() -> dict[str, str]:
    records = {
        name: {"sha256": digest(key), "scopes": SCOPES.get(name, ["chat", "tools"])}
        for name, key in KEYS.items()
    }
    return {"MCP_API_KEY": "", "API_KEYS": json.dumps(records)}


@pytest.fixture
def http(
    make_client: MakeClient,
    stored_environment: dict[str, str],
    keys: dict[str, str],
    stand_in: StandIn,
) -> httpx2.AsyncClient:
    return make_client(stored_environment | keys, headers={})


@pytest.fixture
async def hers(http: httpx2.AsyncClient) -> str:
    """A conversation of Alice's."""
    response = await http.post("/chat", json={"message": "hello"}, headers=key_of("alice"))
    conversation_id: str = response.json()["conversation_id"]
    return conversation_id


def requests(conversation_id: str) -> list[tuple[str, str, dict[str, Any] | None]]:
    message = {"message": "hi", "conversation_id": conversation_id}
    return [
        ("POST", "/chat", message),
        ("POST", "/chat", {**message, "stream": True}),
        ("POST", "/api/bob/chat", message),
        ("GET", f"/conversations/{conversation_id}", None),
        ("DELETE", f"/conversations/{conversation_id}", None),
    ]


async def test_other_principals_conversation_answers_exactly_as_an_unknown_one(
    http: httpx2.AsyncClient, hers: str, stand_in: StandIn
) -> None:
    before = len(stand_in.requests())
    unknown = new_id()
    for mine, theirs in zip(requests(unknown), requests(hers), strict=True):
        answers = []
        for method, path, body in (mine, theirs):
            response = await http.request(method, path, json=body, headers=key_of("bob"))
            asked = unknown if (method, path, body) == mine else hers
            shown = response.json()
            shown.pop("request_id")
            text = json.dumps(shown).replace(asked, "ID")
            answers.append((response.status_code, text, response.headers["content-type"]))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    assert len(stand_in.requests()) == before
    listed = (await http.get("/conversations", headers=key_of("bob"))).json()
    assert listed == {"conversations": [], "cursor": None}
    assert len((await Talk(http).http.get("/conversations", headers=key_of("alice"))).json()) == 2
    page = await http.get(f"/conversations/{hers}", headers=key_of("alice"))
    assert [each["role"] for each in page.json()["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize("malformed", ["abc", "..", "x" * 44, "0" * 43, "%2e%2e"])
async def test_malformed_id_is_an_unknown_one(http: httpx2.AsyncClient, malformed: str) -> None:
    body = {"message": "hi", "conversation_id": malformed}
    response = await http.post("/chat", json=body, headers=key_of("bob"))
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_key_of_one_conversation_is_not_another_principals(
    http: httpx2.AsyncClient, hers: str
) -> None:
    same = {"Idempotency-Key": "same"}
    answers = [
        (await http.post("/chat", json={"message": "hi"}, headers={**key_of(name), **same})).json()
        for name in ("alice", "bob")
    ]
    assert answers[0]["conversation_id"] != answers[1]["conversation_id"]


async def test_user_chats_by_name(http: httpx2.AsyncClient) -> None:
    body = {"message": "What is the current server time?"}
    response = await http.post("/api/alice/chat", json=body, headers=key_of("alice"))
    assert response.status_code == 200
    answer = response.json()
    assert set(answer) == {"conversation_id", "response", "tool_calls"}
    assert "[MCP Server Time]" in answer["response"]
    [call] = answer["tool_calls"]
    assert set(call) == {"name", "arguments", "result", "is_error", "duration_ms"}
    body = {"message": "hello", "conversation_id": answer["conversation_id"]}
    again = await http.post("/api/alice/chat", json=body, headers=key_of("alice"))
    assert again.json()["conversation_id"] == answer["conversation_id"]


async def test_front_end_chats_for_its_users(http: httpx2.AsyncClient, hers: str) -> None:
    body = {"message": "hello", "conversation_id": hers}
    as_alice = {**key_of("front"), "X-User-Id": "alice"}
    for headers in (key_of("front"), as_alice):
        response = await http.post("/api/alice/chat", json=body, headers=headers)
        assert (response.status_code, response.json()["conversation_id"]) == (200, hers)
    listed = (await http.get("/conversations", headers=key_of("front"))).json()
    assert listed["conversations"] == []


@pytest.mark.parametrize(
    ("headers", "user"),
    [
        (key_of("bob"), "alice"),
        ({**key_of("front"), "X-User-Id": "bob"}, "alice"),
        (key_of("tools-only"), "tools-only"),
    ],
)
async def test_nobody_chats_for_others_without_the_right_to(
    http: httpx2.AsyncClient, headers: dict[str, str], user: str
) -> None:
    response = await http.post(f"/api/{user}/chat", json={"message": "hi"}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")


async def test_malformed_user_is_named(http: httpx2.AsyncClient) -> None:
    response = await http.post("/api/a%20b/chat", json={"message": "hi"}, headers=key_of("front"))
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


@pytest.fixture
async def origin(environment: dict[str, str], keys: dict[str, str]) -> AsyncIterator[str]:
    with ThreadServer(create_app(load_settings(environment | keys))) as server:
        yield server.origin


async def test_resource_shows_a_conversation_to_its_owner_only(
    origin: str, stand_in: StandIn
) -> None:
    async with httpx2.AsyncClient(base_url=origin, headers=key_of("alice"), timeout=60) as http:
        asked = await http.post("/chat", json={"message": "hello"})
        conversation_id = asked.json()["conversation_id"]
        page = (await http.get(f"/conversations/{conversation_id}")).json()
    uri = f"conversation://{conversation_id}"
    async with connected(f"{origin}/mcp", "auto", headers=key_of("alice")) as client:
        [contents] = (await client.read_resource(uri)).contents
    assert json.loads(contents.model_dump()["text"]) == page

    refusals = []
    unknown = f"conversation://{new_id()}"
    async with connected(f"{origin}/mcp", "auto", headers=key_of("bob")) as client:
        for each in (uri, unknown):
            with pytest.raises(MCPError) as caught:
                await client.read_resource(each)
            refusals.append(caught.value.error.message.replace(each, "URI"))
    assert refusals[0] == refusals[1]

    async with connected(f"{origin}/mcp", "auto", headers=key_of("tools-only")) as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource(uri)
    assert "scope 'chat'" in caught.value.error.message
