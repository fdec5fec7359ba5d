"""What holds when an app is killed between any two writes of a chat."""

import json
from functools import partial
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.conftest import AUTH, StandIn
from tests.media.kills import LEASE_PAUSE, kill_after_every_write
from tests.waiting import until

pytestmark = pytest.mark.any_python

MESSAGES = ("Hello", "What is the current server time?")


async def talk(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    """Says two things in one conversation, each until it is answered."""
    answers: list[dict[str, Any]] = []
    for number, message in enumerate(MESSAGES):
        body = {"message": message, "stream": number == 1, "tools": ["server_time"]}
        if answers:
            body["conversation_id"] = answers[0]["conversation_id"]
        headers = {"Idempotency-Key": f"message-{number}"}
        response = await until(
            partial(client.post, "/chat", json=body, headers=headers),
            lambda response: response.status_code != 409,
            pause=LEASE_PAUSE,
        )
        assert response.status_code == 200, response.text
        text = response.text.rpartition("data: ")[2]
        answers.append({key: value for key, value in json.loads(text).items() if key != "type"})
    return answers


@pytest.mark.timeout(900)  # Some twenty rounds, each with an app of its own.
async def test_app_killed_after_any_write_of_a_chat_loses_and_doubles_nothing(
    azurite: str, environment: dict[str, str], stand_in: StandIn
) -> None:
    settings = environment | {"AZURE_BLOB_STATE_CONTAINER": f"state-{uuid4().hex}"}
    assert await kill_after_every_write(azurite, settings, AUTH, talk, check) > 8


async def check(client: httpx2.AsyncClient) -> None:
    """Says everything again and looks at what is stored."""
    answers = await talk(client)
    assert await talk(client) == answers
    [listed] = (await client.get("/conversations")).json()["conversations"]
    assert {answer["conversation_id"] for answer in answers} == {listed["id"]}
    page = (await client.get(f"/conversations/{listed['id']}")).json()
    messages = page["messages"]
    assert not any(message["incomplete"] for message in messages)
    assert [message["role"] for message in messages] == [
        *("user", "assistant"),
        *("user", "assistant", "tool", "assistant"),
    ]
    said = [message.get("content") for message in messages]
    assert [said[0], said[2]] == list(MESSAGES)
    assert [said[1], said[5]] == [answer["answer"] for answer in answers]
