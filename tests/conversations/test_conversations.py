"""Conversations: what is stored, what the model is sent of it, and who may write when."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from shared.agent import ChatInput, calls, fold
from shared.agent.history import estimate_tokens
from shared.auth import Principal
from shared.context import CallContext
from shared.conversations import log as conversation_log
from shared.conversations import log_writer
from shared.deadline import Deadline
from shared.openai_service import OpenAIService
from shared.services import Services
from shared.settings import load_settings
from shared.storage import encode_cursor
from shared.storage.ids import is_id
from tests.agents import make_agent
from tests.conftest import MakeClient, StandIn
from tests.conversations.conftest import Talk, tokens_of
from tests.paging import read_pages
from tests.waiting import until

TIME = "What is the current server time?"


async def test_conversation_is_continued_with_its_history(talk: Talk, stand_in: StandIn) -> None:
    first = await talk.say(TIME)
    second = await talk.say("hello", first["conversation_id"])
    assert is_id(first["conversation_id"])
    assert second["conversation_id"] == first["conversation_id"]
    calling, answering, continuing = (body["messages"] for body in stand_in.bodies())
    assert continuing == [
        *calling,
        *answering[2:],
        {"role": "assistant", "content": first["answer"]},
        {"role": "user", "content": "hello"},
    ]


async def test_stored_messages_are_what_was_said(talk: Talk, stand_in: StandIn) -> None:
    answer = await talk.say(TIME)
    page = await talk.read(answer["conversation_id"])
    user, calling, tool, assistant = page.pop("messages")
    assert page == {
        "id": answer["conversation_id"],
        "title": TIME,
        "created_at": ANY,
        "updated_at": ANY,
        "model": answer["model"],
        "usage": tokens_of(answer["usage"]),
        "cursor": None,
    }
    common = {"turn_id": user["turn_id"], "at": ANY, "incomplete": False}
    [call] = calling.pop("tool_calls")
    [told] = answer["tool_calls"]
    assert user == {**common, "role": "user", "content": TIME}
    assert calling == {**common, "role": "assistant", "content": ""}
    assert call == {"id": ANY, "name": "server_time", "arguments": "{}"}
    assert tool == {
        **common,
        "role": "tool",
        "tool_call_id": call["id"],
        **{key: told[key] for key in ("name", "result", "is_error", "duration_ms")},
    }
    assert assistant == {
        **common,
        "role": "assistant",
        "content": answer["answer"],
        "tool_calls": [],
    }


async def test_conversations_are_listed_newest_first_in_pages(talk: Talk) -> None:
    ids = [(await talk.say(f"Message {number}"))["conversation_id"] for number in range(5)]

    async def fetch(cursor: str | None) -> Any:
        query = {"limit": "2"} if cursor is None else {"limit": "2", "cursor": cursor}
        return (await talk.http.get("/conversations", params=query)).json()

    pages = [[each["id"] for each in page["conversations"]] for page in await read_pages(fetch)]
    newest_first = ids[::-1]
    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    [newest] = (await talk.http.get("/conversations", params={"limit": 1})).json()["conversations"]
    assert newest == {
        "id": ids[-1],
        "title": "Message 4",
        "created_at": ANY,
        "updated_at": ANY,
        "model": "gpt-6-luna",
        "usage": ANY,
    }


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_messages_are_read_back_page_by_page(
    talk: Talk, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Lines that end anywhere in what is read at once.
    monkeypatch.setattr(conversation_log, "FIRST_READ_BYTES", 300)
    monkeypatch.setattr(log_writer, "MAX_APPENDS", 3)
    first = await talk.say(TIME)
    for number in range(3):
        await talk.say(f"hello {number} {'x' * 200 * number}", first["conversation_id"])
    pages = await talk.read_pages(first["conversation_id"], limit)
    messages = [message for page in reversed(pages) for message in page["messages"]]
    assert [len(page["messages"]) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert [message["role"] for message in messages] == [
        *("user", "assistant", "tool", "assistant"),
        *("user", "assistant") * 3,
    ]
    assert not any(message["incomplete"] for message in messages)
    assert len({message["turn_id"] for message in messages}) == 4


@pytest.mark.parametrize(
    "cursor",
    [
        *("x", "1-5", "\0", "MS01\n", "////", "é"),
        *map(encode_cursor, ("0-0", "1-5", "7-10", "1-99999999", "1-10-abc:1")),
    ],
)
async def test_wrong_cursor_is_named(talk: Talk, cursor: str) -> None:
    answer = await talk.say("hello")
    path = f"/conversations/{answer['conversation_id']}"
    response = await talk.http.get(path, params={"cursor": cursor})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert "cursor" in response.text


@pytest.mark.parametrize("cursor", ["x", "1-5", "\0", "MS01\n", "////", "é"])
async def test_wrong_cursor_of_the_listing_is_named(talk: Talk, cursor: str) -> None:
    response = await talk.http.get("/conversations", params={"cursor": cursor})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert "cursor" in response.text


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x"])
async def test_wrong_limit_is_named(local_talk: Talk, query: str) -> None:
    conversation_id = (await local_talk.say("hello"))["conversation_id"]
    for path in ("/conversations", f"/conversations/{conversation_id}"):
        response = await local_talk.http.get(f"{path}?{query}")
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_deleted_conversation_is_gone(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "MAX_APPENDS", 1)
    conversation_id = (await talk.say("hello"))["conversation_id"]
    path = f"/conversations/{conversation_id}"
    assert (await talk.http.delete(path)).status_code == 204
    for response in (
        await talk.http.get(path),
        await talk.http.delete(path),
        await talk.http.post("/chat", json={"message": "hi", "conversation_id": conversation_id}),
    ):
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert (await talk.http.get("/conversations")).json()["conversations"] == []


async def test_second_message_while_one_is_answered_is_told_to_wait(
    talk: Talk, stand_in: StandIn
) -> None:
    conversation_id = (await talk.say("one"))["conversation_id"]
    stand_in.fault(delay=2)
    answering = asyncio.create_task(talk.say("two", conversation_id))
    await until(lambda: len(stand_in.requests()) == 2)
    for response in (
        await talk.http.post("/chat", json={"message": "no", "conversation_id": conversation_id}),
        await talk.http.delete(f"/conversations/{conversation_id}"),
    ):
        assert (response.status_code, response.json()["code"]) == (409, "conflict")
        assert int(response.headers["retry-after"]) > 0
    answer = await answering
    assert await talk.said(conversation_id) == [
        ("user", "one"),
        ("assistant", ANY),
        ("user", "two"),
        ("assistant", answer["answer"]),
    ]


async def test_of_many_messages_at_once_some_are_answered_and_none_is_mixed(talk: Talk) -> None:
    conversation_id = (await talk.say("begin"))["conversation_id"]

    async def say(number: int) -> tuple[int, str, str]:
        body = {"message": f"message {number}", "conversation_id": conversation_id}
        response = await talk.http.post("/chat", json=body)
        return response.status_code, body["message"], response.json().get("answer", "")

    outcomes = await asyncio.gather(*(say(number) for number in range(10)))
    assert {status for status, _, _ in outcomes} <= {200, 409}
    answered = {(message, answer) for status, message, answer in outcomes if status == 200}
    said = (await talk.said(conversation_id))[2:]
    assert [role for role, _ in said] == ["user", "assistant"] * len(answered)
    texts = [text for _, text in said]
    assert set(zip(texts[::2], texts[1::2], strict=True)) == answered != set()


async def test_failed_message_is_kept_as_broken_off_and_not_sent_again(
    talk: Talk, stand_in: StandIn
) -> None:
    conversation_id = (await talk.say("one"))["conversation_id"]
    stand_in.fault(status=500)
    body = {"message": "two", "conversation_id": conversation_id}
    assert (await talk.http.post("/chat", json=body)).status_code == 502
    await talk.say("three", conversation_id)
    messages = (await talk.read(conversation_id))["messages"]
    assert [
        (each["content"], each["incomplete"]) for each in messages if each["role"] == "user"
    ] == [("one", False), ("two", True), ("three", False)]
    sent = stand_in.bodies()[-1]["messages"]
    assert [each["content"] for each in sent if each["role"] == "user"] == ["one", "three"]


async def test_history_is_cut_to_its_budget_by_whole_turns(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    talk = Talk(make_client(environment | {"CHAT_MAX_HISTORY_TOKENS": "700"}))
    conversation_id = (await talk.say("hello"))["conversation_id"]
    for number in range(8):
        await talk.say(f"{number} {TIME} {'word ' * 20}", conversation_id)
        system, *rest, last = stand_in.bodies()[-2]["messages"]
        assert system["role"] == "system"
        assert last["content"].startswith(f"{number} ")
        assert estimate_tokens([system, *rest, last]) <= 700
        roles = [message["role"] for message in rest]
        assert not roles or roles[0] == "user"
        calls = [call["id"] for message in rest for call in message.get("tool_calls", ())]
        assert calls == [each["tool_call_id"] for each in rest if each["role"] == "tool"]
    questions = [message["content"][0] for message in rest if message["role"] == "user"]
    assert questions == [str(number) for number in range(7)][-len(questions) :] != []
    assert len(questions) < 7


async def test_large_old_result_shrinks_to_its_media(
    local_talk: Talk, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "LARGE_RESULT_CHARS", 100)
    stand_in.fault(call_tools=["generate_image"], tool_arguments='{"prompt": "A hill"}')
    first = await local_talk.say("draw")
    [call] = first["tool_calls"]
    [media] = call["result"]["media"]
    conversation_id = first["conversation_id"]
    await local_talk.say("hello", conversation_id)
    await local_talk.say("hello", conversation_id)
    *_, newest, older = (body["messages"] for body in stand_in.bodies() if "messages" in body)
    results = [
        next(each["content"] for each in messages if each["role"] == "tool")
        for messages in (newest, older)
    ]
    assert "revised_prompt" in results[0]
    assert "revised_prompt" not in results[1]
    assert media["id"] in results[1]
    assert f"/m/{media['id']}?s=" in results[1]


async def test_links_of_earlier_turns_are_fresh(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["generate_image"], tool_arguments='{"prompt": "A hill"}')
    first = await Talk(make_client(environment)).say("draw")
    [media] = first["tool_calls"][0]["result"]["media"]
    # The link is still good, but another instance would give one that is good for longer.
    later = Talk(make_client(environment | {"MEDIA_URL_TTL_SECONDS": "86400"}))
    await later.say("hello", first["conversation_id"])
    sent = next(each for each in stand_in.bodies()[-1]["messages"] if each["role"] == "tool")
    page = await later.read(first["conversation_id"])
    shown = next(each for each in page["messages"] if each["role"] == "tool")
    for result in (json.loads(sent["content"]), shown["result"]):
        [fresh] = result["media"]
        assert fresh["id"] == media["id"]
        assert fresh["expires_at"] > media["expires_at"]
        assert fresh["url"] != media["url"]
    assert media["url"] in first["answer"]
    last = page["messages"][-3]
    assert (last["role"], media["url"] in last["content"]) == ("assistant", False)
    assert shown["result"]["media"][0]["url"] in last["content"]


async def test_large_result_is_stored_as_its_media_whose_links_stay_fresh(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "MAX_RESULT_CHARS", 100)
    stand_in.fault(call_tools=["generate_image"], tool_arguments='{"prompt": "A hill"}')
    first = await Talk(make_client(environment)).say("draw")
    [media] = first["tool_calls"][0]["result"]["media"]
    later = Talk(make_client(environment | {"MEDIA_URL_TTL_SECONDS": "86400"}))
    page = await later.read(first["conversation_id"])
    shown = next(each["result"] for each in page["messages"] if each["role"] == "tool")
    assert "Shortened" in shown["note"]
    assert shown["media"][0]["id"] == media["id"]
    assert shown["media"][0]["expires_at"] > media["expires_at"]


async def test_without_storage_there_are_chats_but_no_conversations(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    settings = load_settings({"WEBSITE_SITE_NAME": "app"})
    services = replace(Services.make(settings), openai=OpenAIService(load_settings(environment)))
    context = CallContext(Principal("p", frozenset()), Deadline.after(20))
    answer = await fold(make_agent(settings, services).events(ChatInput(message="hi"), context))
    await services.aclose()
    assert answer["conversation_id"] is None

    in_azure = {"WEBSITE_SITE_NAME": "app", "LOCAL_STORAGE_PATH": "", "OPENAI_BASE_URL": ""}
    talk = Talk(make_client(environment | in_azure))
    refused = [
        await talk.http.post("/chat", json={"message": "hi", "conversation_id": "abc"}),
        await talk.http.get("/conversations"),
        await talk.http.get("/conversations/abc"),
        await talk.http.delete("/conversations/abc"),
    ]
    for response in refused:
        assert (response.status_code, response.json()["code"]) == (503, "not_configured")


async def test_repeat_with_a_key_adds_nothing(talk: Talk, stand_in: StandIn) -> None:
    headers = {"Idempotency-Key": "one"}
    first = await talk.say(TIME, headers=headers)
    again = await talk.say(TIME, headers=headers)
    assert again == first
    assert len((await talk.read(first["conversation_id"]))["messages"]) == 4


async def test_repeat_after_a_failure_replaces_the_broken_turn(
    talk: Talk, stand_in: StandIn
) -> None:
    conversation_id = (await talk.say("one"))["conversation_id"]
    body = {"message": TIME, "conversation_id": conversation_id}
    headers = {"Idempotency-Key": "two"}
    stand_in.fault(call_tools=["server_time"])
    stand_in.fault(status=500)
    failed = await talk.http.post("/chat", json=body, headers=headers)
    assert failed.status_code == 502
    broken = (await talk.read(conversation_id))["messages"]
    assert [each["incomplete"] for each in broken] == [False] * 4 + [True]
    # Others may say something in between: the repeat comes after it.
    await talk.say("three", conversation_id)
    answer = await talk.say(TIME, conversation_id, headers=headers)
    messages = (await talk.read(conversation_id))["messages"]
    assert [each["content"] for each in messages if each["role"] == "user"] == [
        "one",
        "three",
        TIME,
    ]
    assert messages[-1]["content"] == answer["answer"]
    sent = stand_in.bodies()[-1]["messages"]
    assert [each["content"] for each in sent if each["role"] == "user"] == ["one", "three", TIME]
    await talk.say("four", conversation_id)
    sent = stand_in.bodies()[-1]["messages"]
    questions = [each["content"] for each in sent if each["role"] == "user"]
    assert questions == ["one", "three", TIME, "four"]
    messages = (await talk.read(conversation_id))["messages"]
    pages = await talk.read_pages(conversation_id, limit=1)
    assert [message for page in reversed(pages) for message in page["messages"]] == messages


async def test_length_of_a_result_is_counted_in_characters(
    local_talk: Talk, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MAX_RESULT_CHARS", 300)
    title = "\u6f22" * 190
    stand_in.fault(call_tools=["add_task"], tool_arguments=json.dumps({"title": title}))
    answer = await local_talk.say("Add it")
    page = await local_talk.read(answer["conversation_id"])
    [stored] = [each["result"] for each in page["messages"] if each["role"] == "tool"]
    assert stored["title"] == title


async def test_turn_that_the_deadline_ends_says_so_and_frees_its_conversation(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    conversation_id = (await Talk(make_client(environment)).say("one"))["conversation_id"]
    stand_in.fault(delay=30)
    client = make_client(environment | {"REQUEST_DEADLINE_SECONDS": "2"})
    body = {"message": "two", "conversation_id": conversation_id}
    response = await client.post("/chat", json=body)
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    ends = stored_ends(Path(environment["LOCAL_STORAGE_PATH"]), conversation_id)
    assert ends == [("complete", None), ("incomplete", "deadline_exceeded")]
    await Talk(make_client(environment)).say("three", conversation_id)


def stored_ends(folder: Path, conversation_id: str) -> list[tuple[str, str | None]]:
    """Returns how the turns of a conversation have ended, as its log says."""
    files = [each for each in folder.rglob("*") if each.is_file() and conversation_id in str(each)]
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [(line["status"], line.get("error")) for line in lines if line["type"] == "end"]
