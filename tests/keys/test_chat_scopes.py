"""What a chat is offered whose caller lacks scopes."""

import json
from typing import Any

import pytest

from tests.conftest import CHAT_TOOLS, MakeClient, StandIn, digest

HEADERS = {"X-Api-Key": "web-key"}
FREE = [
    "get_video",
    "add_task",
    "list_tasks",
    "complete_task",
    "update_task",
    "delete_task",
    "list_supported_models",
    "server_time",
]


def with_scopes(*scopes: str) -> dict[str, str]:
    entry = {"sha256": digest("web-key"), "scopes": scopes}
    return {"API_KEYS": json.dumps({"web": entry})}


def offered(stand_in: StandIn) -> list[str]:
    """Returns the tools of the first call of the model."""
    return [tool["function"]["name"] for tool in stand_in.bodies()[0].get("tools", [])]


@pytest.mark.parametrize(("scopes", "tools"), [(["chat"], FREE), (["chat", "tools"], CHAT_TOOLS)])
async def test_chat_without_tools_is_offered_only_what_costs_nothing(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    scopes: list[str],
    tools: list[str],
) -> None:
    client = make_client(environment | with_scopes(*scopes), HEADERS)
    assert (await client.post("/chat", json={"message": "hi"})).status_code == 200
    assert sorted(offered(stand_in)) == sorted(tools)


@pytest.mark.parametrize(
    ("scopes", "body", "status"),
    [
        (["chat"], {"tools": ["server_time"]}, 200),
        (["chat"], {"tools": ["generate_image"]}, 403),
        (["chat", "tools"], {"tools": ["generate_image"]}, 200),
        (["chat"], {"connections": ["docs"]}, 403),
        (["chat"], {"connections": "none"}, 200),
        (["chat", "connections"], {"connections": "none"}, 200),
    ],
)
async def test_naming_what_the_key_may_not_use_is_refused(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    scopes: list[str],
    body: dict[str, Any],
    status: int,
) -> None:
    client = make_client(environment | with_scopes(*scopes), HEADERS)
    response = await client.post("/chat", json={"message": "hi", **body})
    assert response.status_code == status, response.text
    if status == 403:
        assert response.json()["code"] == "insufficient_scope"
        assert stand_in.requests() == []


async def test_chat_without_connections_asks_no_other_server(
    make_client: MakeClient, environment: dict[str, str], unused_port: int
) -> None:
    servers = {"docs": {"url": f"http://127.0.0.1:{unused_port}/mcp"}}
    settings = environment | {
        "CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true",
        "MCP_SERVERS": json.dumps(servers),
    }
    for scopes, is_asked in ((["chat"], False), (["chat", "connections"], True)):
        client = make_client(settings | with_scopes(*scopes), HEADERS)
        answer = (await client.post("/chat", json={"message": "hi"})).json()
        assert ("connection_problems" in answer) is is_asked


async def test_model_is_offered_to_ask_a_model_only_where_the_chat_names_it(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(environment)
    await client.post("/chat", json={"message": "hi"})
    assert {"generate", "chat_completion"}.isdisjoint(offered(stand_in))
    await client.post("/chat", json={"message": "hi", "tools": ["generate", "chat_completion"]})
    named = [tool["function"]["name"] for tool in stand_in.bodies()[-1]["tools"]]
    assert named == ["generate", "chat_completion"]
