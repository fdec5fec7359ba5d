"""Chats while storage refuses writes: one refusal ends none, and none stays locked."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import MakeClient, StandIn
from tests.conversations.conftest import Talk, parse
from tests.storage.azurite import blob_settings
from tests.storage.proxy import (
    BUSY,
    LOST,
    Fault,
    Refusal,
    StorageProxy,
    StorageRequest,
    proxy_before,
)
from tests.waiting import until

TIME = "What is the current server time?"
WRITES = 5
"""Of a new chat with one tool call: the log itself, the question, the call, its result, the answer."""


@pytest.fixture
def behind(azurite: str) -> Iterator[tuple[StorageProxy, str]]:
    """A proxy and the connection string that leads through it."""
    with proxy_before(azurite) as pair:
        yield pair


@pytest.mark.parametrize("fault", [BUSY, Refusal(503, "ServerBusy", 1), LOST], ids=str)
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_chat_survives_every_single_write_that_fails(
    make_client: MakeClient,
    environment: dict[str, str],
    behind: tuple[StorageProxy, str],
    stand_in: StandIn,
    fault: Fault,
    stream: bool,
) -> None:
    proxy, connection_string = behind
    talk = Talk(make_client(environment | blob_settings(connection_string)))
    await talk.say("Hello")
    for number in range(WRITES):
        proxy.fail("PUT", "/conversations/", fault, after=number)
        before = proxy.faults
        body = {"message": TIME, "stream": stream, "tools": ["server_time"]}
        response = await talk.http.post("/chat", json=body)
        assert response.status_code == 200, response.text
        assert proxy.faults == before + 1
        answer = parse(response.text)[-1][1] if stream else response.json()
        assert answer["finish_reason"] == "stop"
        messages = (await talk.read(answer["conversation_id"]))["messages"]
        assert [each["role"] for each in messages] == ["user", "assistant", "tool", "assistant"]
        assert not any(each["incomplete"] for each in messages)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_turn_whose_end_cannot_be_stored_is_given_up_and_its_text_kept(
    make_client: MakeClient,
    environment: dict[str, str],
    behind: tuple[StorageProxy, str],
    stand_in: StandIn,
    stream: bool,
) -> None:
    proxy, connection_string = behind
    settings = environment | blob_settings(connection_string) | {"REQUEST_DEADLINE_SECONDS": "4"}
    talk = Talk(make_client(settings))
    first = await talk.say("Hello")
    conversation_id = first["conversation_id"]
    appends = 0

    def refuse_all_but_the_question(request: StorageRequest) -> Fault | None:
        nonlocal appends
        # The ledger may still write of the message before.
        is_append = "/conversations/" in request.target and "comp=appendblock" in request.target
        appends += is_append
        return BUSY if is_append and appends > 1 else None

    proxy.decide = refuse_all_but_the_question
    body: dict[str, Any] = {
        "message": "Hello again",
        "stream": stream,
        "conversation_id": conversation_id,
    }
    response = await talk.http.post("/chat", json=body)
    told = parse(response.text)[-1][1] if stream else response.json()
    assert told["code"] in ("storage_unavailable", "deadline_exceeded")
    proxy.decide = lambda request: None

    async def last_message() -> dict[str, Any]:
        message: dict[str, Any] = (await talk.read(conversation_id))["messages"][-1]
        return message

    kept = await until(last_message, lambda message: message["role"] == "assistant")
    assert kept["incomplete"]
    assert kept["content"]
    messages = (await talk.read(conversation_id))["messages"]
    assert [each["role"] for each in messages] == ["user", "assistant"] * 2
    # Nobody waits for a lease to run out.
    assert (await talk.say("And now?", conversation_id))["finish_reason"] == "stop"
