"""Arguments at every door: integers as JSON Schema has them, and texts that are worth their price."""

import json
from typing import Any

import httpx2
import pytest

from tests.conftest import StandIn

PICTURES = "/v1/images/generations"


async def draw_by(
    door: str, client: httpx2.AsyncClient, stand_in: StandIn, **arguments: Any
) -> str:
    """Calls generate_image through a door, and returns the answer as text."""
    if door == "tools":
        return (await client.post("/tools/generate_image", json=arguments)).text
    if door == "mcp":
        params = {"name": "generate_image", "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        headers = {"Accept": "application/json, text/event-stream"}
        return (await client.post("/mcp", json=message, headers=headers)).text
    stand_in.fault(call_tools=["generate_image"], tool_arguments=json.dumps(arguments))
    return (await client.post("/chat", json={"message": "go"})).text


@pytest.mark.parametrize("door", ["tools", "mcp", "chat"])
async def test_number_without_a_fraction_is_an_integer(
    client: httpx2.AsyncClient, stand_in: StandIn, door: str
) -> None:
    await draw_by(door, client, stand_in, prompt="a cat", n=2.0)
    [drawn] = [each["body"] for each in stand_in.requests() if each["path"] == PICTURES]
    assert repr(drawn["n"]) == "2"


@pytest.mark.parametrize("door", ["tools", "mcp", "chat"])
async def test_number_with_a_fraction_is_none(
    client: httpx2.AsyncClient, stand_in: StandIn, door: str
) -> None:
    answer = await draw_by(door, client, stand_in, prompt="a cat", n=2.5)
    assert "Must be an integer" in answer
    assert PICTURES not in [each["path"] for each in stand_in.requests()]


async def test_max_turns_may_be_written_with_a_point(client: httpx2.AsyncClient) -> None:
    response = await client.post("/chat", json={"message": "hi", "max_turns": 2.0})
    assert response.status_code == 200


async def test_numbers_of_the_provider_stay_as_they_are_written(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    body = {"prompt": "hi", "temperature": 1.0, "extra": {"penalty": 2.0}}
    assert (await client.post("/tools/generate", json=body)).status_code == 200
    [sent] = stand_in.bodies()
    assert (repr(sent["temperature"]), repr(sent["penalty"])) == ("1.0", "2.0")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/chat", "message"),
        ("/api/default/chat", "message"),
        ("/tools/chat_completion", "prompt"),
        ("/tools/generate", "prompt"),
        ("/tools/generate_image", "prompt"),
        ("/tools/edit_image", "prompt"),
        ("/tools/synthesize_speech", "text"),
        ("/tools/generate_video", "prompt"),
    ],
)
@pytest.mark.parametrize("text", [" ", "\n\t\u3000"])
async def test_blank_text_is_refused_and_not_paid_for(
    client: httpx2.AsyncClient, stand_in: StandIn, path: str, field: str, text: str
) -> None:
    body = {field: text} | ({"images": ["x"]} if path == "/tools/edit_image" else {})
    response = await client.post(path, json=body)
    assert response.status_code == 422
    [complaint] = response.json()["errors"]
    assert (complaint["loc"], complaint["type"]) == (["body", field], "blank")
    assert complaint["msg"].startswith("Must not be blank")
    assert stand_in.requests() == []


@pytest.mark.parametrize("door", ["mcp", "chat"])
async def test_blank_prompt_is_named_at_the_other_doors_too(
    client: httpx2.AsyncClient, stand_in: StandIn, door: str
) -> None:
    assert "prompt: Must not be blank" in await draw_by(door, client, stand_in, prompt=" ")
