"""Streamed chats: the same as the JSON answer, as it happens, and to a clear end in every case."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any
from unittest.mock import ANY

import httpx2
import pytest
from pytest_mock import MockerFixture

from shared.agent import ChatEvent
from shared.agent.events import ChatDelta
from shared.app import create_app
from shared.routes import sse
from shared.settings import load_settings
from shared.timing import Timing
from tests.conftest import AUTH, MakeClient, StandIn, ThreadServer
from tests.conversations.conftest import Event, Talk, parse
from tests.waiting import until

TIME = "What is the current server time?"


async def stream(
    client: httpx2.AsyncClient, headers: dict[str, str] | None = None, **body: Any
) -> list[Event]:
    response = await client.post("/chat", json={"stream": True, **body}, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    events = parse(response.text)
    assert all(data["type"] == kind for kind, data in events)
    return events


async def test_events_of_the_stream_are_documented(talk: Talk, stand_in: StandIn) -> None:
    document = (await talk.http.get("/openapi.json")).json()
    answer = document["paths"]["/chat"]["post"]["responses"]["200"]
    assert set(answer["content"]) == {"application/json", "text/event-stream"}
    assert answer["content"]["text/event-stream"]["schema"]["$ref"].endswith("/ChatEvent")
    union = document["components"]["schemas"]["ChatEvent"]
    documented = set(union["discriminator"]["mapping"])
    kinds = {kind for kind, _ in await stream(talk.http, message=TIME)}
    assert documented == kinds | {"chat.tool_progress", "chat.error"}


@pytest.fixture
async def live(environment: dict[str, str], stand_in: StandIn) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the app behind a real server, over whose connections answers really stream."""
    with ThreadServer(create_app(load_settings(environment))) as server:
        async with httpx2.AsyncClient(base_url=server.origin, headers=AUTH, timeout=60) as client:
            yield client


async def test_stream_shows_tokens_tool_call_result_tokens_and_the_whole_answer(
    talk: Talk, stand_in: StandIn
) -> None:
    events = await stream(talk.http, message=TIME)
    kinds = [kind for kind, _ in events]
    deltas = kinds.count("chat.delta")
    assert kinds == [
        "chat.created",
        "chat.tool_call",
        "chat.tool_result",
        *["chat.delta"] * deltas,
        "chat.completed",
    ]
    created, call, result = (data for _, data in events[:3])
    answer = dict(events[-1][1])
    assert answer.pop("type") == "chat.completed"
    assert created == {
        "type": "chat.created",
        "conversation_id": answer["conversation_id"],
        "model": "gpt-6-luna",
    }
    assert call == {"type": "chat.tool_call", "id": ANY, "name": "server_time", "arguments": {}}
    [told] = answer["tool_calls"]
    assert told.pop("arguments") == {}
    assert result == {"type": "chat.tool_result", "id": call["id"], **told}
    assert deltas > 1
    texts = [data["text"] for kind, data in events if kind == "chat.delta"]
    assert "".join(texts) == answer["answer"]

    plain = await talk.say(TIME)
    assert set(plain) == set(answer)
    same = ("model", "finish_reason", "turns")
    assert {key: plain[key] for key in same} == {key: answer[key] for key in same}
    stored = (await talk.read(answer["conversation_id"]))["messages"]
    assert stored[-1]["content"] == answer["answer"]
    assert stored[2]["result"] == result["result"]
    assert not any(message["incomplete"] for message in stored)


async def test_accept_header_asks_for_a_stream_too(talk: Talk) -> None:
    headers = {"Accept": "text/event-stream;q=0.9, */*;q=0.1"}
    response = await talk.http.post("/chat", json={"message": "hello"}, headers=headers)
    assert [kind for kind, _ in parse(response.text)][-1] == "chat.completed"
    headers = {"Accept": "application/json, text/event-stream"}
    response = await talk.http.post("/chat", json={"message": "hello"}, headers=headers)
    assert response.json()["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "accept",
    ["application/json, text/event-stream", "*/*", "text/event-stream;q=0.1, */*", "x;q=.."],
)
async def test_who_takes_both_gets_json(talk: Talk, accept: str) -> None:
    response = await talk.http.post("/chat", json={"message": "hello"}, headers={"Accept": accept})
    assert response.headers["content-type"] == "application/json"


async def test_text_before_a_tool_call_is_streamed_and_stored(
    talk: Talk, stand_in: StandIn
) -> None:
    events = await stream(talk.http, message="Größe 😀 \u2028 " + TIME.replace("server", "Server"))
    assert events[-1][0] == "chat.completed"
    [user, *_] = (await talk.read(events[0][1]["conversation_id"]))["messages"]
    assert user["content"].startswith("Größe 😀 \u2028 ")


async def test_field_says_more_than_the_header(talk: Talk) -> None:
    headers = {"Accept": "text/event-stream"}
    body = {"message": "hello", "stream": False}
    response = await talk.http.post("/chat", json=body, headers=headers)
    assert response.json()["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"message": ""}, 422, "invalid_request"),
        ({"message": "hi", "tools": ["nope"]}, 422, "invalid_request"),
        ({"message": "hi", "conversation_id": "abc"}, 404, "not_found"),
    ],
)
async def test_errors_before_the_stream_keep_their_status(
    local_talk: Talk, body: dict[str, Any], status: int, code: str
) -> None:
    response = await local_talk.http.post("/chat", json={"stream": True, **body})
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize("cut", ["connection", "clean"])
async def test_cut_provider_stream_ends_with_an_error(
    talk: Talk, stand_in: StandIn, cut: str
) -> None:
    stand_in.fault(cut=cut, text="one two three four five six")
    events = await stream(talk.http, message="hello")
    kind, error = events[-1]
    assert kind == "chat.error"
    assert error == {
        "type": "chat.error",
        "detail": ANY,
        "code": "provider_truncated",
        "request_id": ANY,
    }
    said = "".join(data["text"] for kind, data in events if kind == "chat.delta")
    assert "one" in said
    messages = (await talk.read(events[0][1]["conversation_id"]))["messages"]
    assert [(each["content"], each["incomplete"]) for each in messages] == [
        ("hello", False),
        (said, True),
    ]


async def test_failing_provider_ends_with_an_error(talk: Talk, stand_in: StandIn) -> None:
    stand_in.fault(status=400, message="No such model")
    [created, failed] = await stream(talk.http, message="hello")
    assert created[0] == "chat.created"
    assert (failed[0], failed[1]["code"]) == ("chat.error", "provider_rejected")
    assert "No such model" in failed[1]["detail"]


async def test_bug_in_the_middle_shows_nothing_but_the_request_id(
    local_talk: Talk, mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("a secret")

    conversation_id = (await local_talk.say("hello"))["conversation_id"]
    mocker.patch("shared.agent.run.with_cost", fail)
    events = await stream(local_talk.http, message="hi", conversation_id=conversation_id)
    assert (events[-1][0], events[-1][1]["code"]) == ("chat.error", "internal_error")
    assert "a secret" not in json.dumps(events)
    assert "a secret" in caplog.text


async def test_client_that_leaves_ends_the_provider_call_and_what_was_said_is_kept(
    live: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(text="word " * 200, chunk_delay=0.1)
    body = {"message": "hello", "stream": True}
    events: list[Event] = []
    async with live.stream("POST", "/chat", json=body) as response:
        buffer = ""
        async for text in response.aiter_text():
            buffer += text
            complete, _, _ = buffer.rpartition("\n\n")
            events = parse(complete)
            if len(events) >= 4:
                break
    conversation_id = events[0][1]["conversation_id"]
    talk = Talk(live)
    messages = await ended(talk, conversation_id)
    told = "".join(data["text"] for kind, data in events if kind == "chat.delta")
    assert [each["role"] for each in messages] == ["user", "assistant"]
    assert messages[-1]["content"].startswith(told)
    assert len(messages[-1]["content"]) < len("word " * 200) / 2
    assert (await talk.say("again", conversation_id))["finish_reason"] == "stop"
    sent = stand_in.bodies()[-1]["messages"]
    assert sent[-2] == {"role": "assistant", "content": messages[-1]["content"]}


async def ended(talk: Talk, conversation_id: str) -> list[dict[str, Any]]:
    """Waits until the last turn is known to have been broken off."""
    page = await until(
        lambda: talk.read(conversation_id), lambda page: page["messages"][-1]["incomplete"]
    )
    messages: list[dict[str, Any]] = page["messages"]
    return messages


async def test_client_that_leaves_the_json_answer_frees_the_conversation(
    live: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    talk = Talk(live)
    conversation_id = (await talk.say("one"))["conversation_id"]
    stand_in.fault(delay=30)
    request = asyncio.create_task(talk.say("two", conversation_id))
    await until(lambda: len(stand_in.requests()) == 2)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    await ended(talk, conversation_id)
    await talk.say("three", conversation_id)


async def test_with_a_key_the_answer_goes_on_without_its_client(
    live: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(text="word " * 30, chunk_delay=0.02)
    headers = {"Idempotency-Key": "stays"}
    body = {"message": "hello", "stream": True}
    async with live.stream("POST", "/chat", json=body, headers=headers) as response:
        async for _ in response.aiter_text():
            break
    again = await stream(live, message="hello", headers=headers)
    assert [kind for kind, _ in again] == ["chat.created", "chat.completed"]
    assert again[-1][1]["answer"].split() == ["word"] * 30
    plain = await live.post("/chat", json={"message": "hello"}, headers=headers)
    assert {"type": "chat.completed", **plain.json()} == again[-1][1]
    assert len(stand_in.requests()) == 1
    messages = (await Talk(live).read(again[0][1]["conversation_id"]))["messages"]
    assert [each["incomplete"] for each in messages] == [False, False]


async def test_silence_is_filled_with_pings(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    assert Timing().ping <= 15
    client = make_client(environment, own_timing=Timing(ping=0.05))
    stand_in.fault(delay=0.5)
    response = await client.post("/chat", json={"message": "hello", "stream": True})
    assert "\n\n: ping\n\n" in response.text
    assert parse(response.text)[-1][0] == "chat.completed"


async def test_pings_lose_no_event() -> None:
    proceed = asyncio.Event()

    async def events() -> AsyncGenerator[ChatEvent, None]:
        for number in range(3):
            await proceed.wait()
            proceed.clear()
            yield ChatDelta(str(number))

    seen: list[ChatEvent | None] = []
    source = events()
    async with aclosing(source):
        async for event in sse.with_silences(source, 0.01):
            seen.append(event)
            if event is None:
                proceed.set()
    assert [event for event in seen if event] == [ChatDelta(str(number)) for number in range(3)]
    assert seen.count(None) >= 3


async def test_stream_is_not_held_back(live: httpx2.AsyncClient, stand_in: StandIn) -> None:
    stand_in.fault(delay=3)
    body = {"message": "hello", "stream": True}
    async with live.stream("POST", "/chat", json=body) as response:
        first = await anext(response.aiter_text())
        # The provider has not said a word yet.
        assert first.startswith("event: chat.created\n")
        assert len(stand_in.requests()) <= 1


async def test_stream_of_a_busy_conversation_answers_409(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    talk = Talk(make_client(environment))
    conversation_id = (await talk.say("one"))["conversation_id"]
    stand_in.fault(delay=1)
    answering = asyncio.create_task(talk.say("two", conversation_id))
    await until(lambda: len(stand_in.requests()) == 2)
    body = {"message": "no", "conversation_id": conversation_id, "stream": True}
    response = await talk.http.post("/chat", json=body)
    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    await answering
