"""What a listing remembers of each conversation, and what that costs."""

import asyncio
from typing import Any

import pytest
from pytest_mock import MockerFixture

from shared.conversations import AssistantLine, ConversationStore
from shared.conversations.lines import title_of
from shared.openai_service import Usage, sum_usage
from shared.settings import load_settings
from shared.storage import FolderStore, MediaStore, Operation, Storage
from shared.timing import Timing
from tests.conftest import StandIn
from tests.conversations.conftest import Talk, tokens_of
from tests.waiting import until

TIME = "What is the current server time?"
USAGE = Usage(
    prompt_tokens=3,
    completion_tokens=2,
    total_tokens=5,
    cached_tokens=None,
    reasoning_tokens=None,
)
KEYS = ("id", "title", "created_at", "updated_at", "model", "usage")


async def listed(talk: Talk) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await talk.http.get("/conversations")).json()["conversations"]
    return found


async def test_listing_shows_model_usage_and_last_change_of_all_runs(
    talk: Talk, stand_in: StandIn
) -> None:
    first = await talk.say(f"  {TIME}\n")
    [before] = await listed(talk)
    second = await talk.say("hello", first["conversation_id"], model="gpt-6-terra")
    [after] = await listed(talk)
    assert [(each["title"], each["model"], each["usage"]) for each in (before, after)] == [
        (TIME, first["model"], tokens_of(first["usage"])),
        (TIME, second["model"], sum_usage([first["usage"], second["usage"]])),
    ]
    assert before["model"] != after["model"]
    assert before["created_at"] == after["created_at"] <= before["updated_at"]
    assert before["updated_at"] < after["updated_at"]
    for limit in (100, 1):
        page = await talk.read(first["conversation_id"], limit=limit)
        assert {key: page[key] for key in KEYS} == after
        assert page["updated_at"] == page["messages"][-1]["at"]
    earlier = await talk.read(first["conversation_id"], limit=1, cursor=page["cursor"])
    assert {key: earlier[key] for key in KEYS} == after


async def test_conversation_without_an_answer_has_neither_model_nor_usage(
    talk: Talk, stand_in: StandIn
) -> None:
    stand_in.fault(status=500)
    assert (await talk.http.post("/chat", json={"message": "hello"})).status_code == 502
    [found] = await listed(talk)
    assert (found["title"], found["model"], found["usage"]) == ("hello", None, None)


async def test_conversation_being_answered_is_listed_with_what_is_known(
    talk: Talk, stand_in: StandIn
) -> None:
    first = await talk.say("one")
    [before] = await listed(talk)
    stand_in.fault(delay=2)
    # Longer than what is read of the end of a log.
    answering = asyncio.create_task(talk.say("two" * 20_000, first["conversation_id"]))
    await until(lambda: len(stand_in.requests()) == 2)
    [meanwhile] = await listed(talk)
    assert meanwhile["title"] == "one"
    assert before["updated_at"] <= meanwhile["updated_at"]
    await answering
    [after] = await listed(talk)
    assert after["usage"]["total_tokens"] > before["usage"]["total_tokens"]


async def test_tokens_of_a_run_that_never_ended_are_counted(
    stored_environment: dict[str, str],
) -> None:
    settings = load_settings(stored_environment)
    # Every lease is over at once, so that the next run may begin.
    storage = Storage(settings, timing=Timing(lease=0, renewal=1000))
    store = ConversationStore(storage, MediaStore(storage, settings))
    dead = await store.begin_run("alice", None, "one", Operation.begin())
    assert dead.writer is not None
    await dead.writer.write(AssistantLine(content="x" * 100_000, model="m", usage=USAGE))
    run = await store.begin_run("alice", dead.conversation_id, "two", Operation.begin())
    assert run.writer is not None
    await run.writer.close(AssistantLine(content="b"), status="complete", model="n", usage=USAGE)
    [found] = (await store.list("alice", 10, None))["conversations"]
    assert (found["title"], found["model"], found["usage"]) == (
        "one",
        "n",
        sum_usage([USAGE, USAGE]),
    )
    await storage.aclose()


async def test_listing_takes_one_read_of_storage_for_each_conversation(
    local_talk: Talk, stand_in: StandIn, mocker: MockerFixture
) -> None:
    for number in range(3):
        await local_talk.say(f"Message {number} {'word ' * 2000}")
    spies = [mocker.spy(FolderStore, name) for name in ("list", "open", "describe", "read")]
    assert len(await listed(local_talk)) == 3
    assert [spy.call_count for spy in spies] == [1, 3, 0, 0]


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("Hello", "Hello"),
        ("  two\r\n\tlines  here ", "two lines here"),
        ("a\u202eb\u200bc\x00d\ufeff", "abcd"),
        ("\u2028\u00a0x", "x"),
        ("👩\u200d💻 at work", "👩\u200d💻 at work"),
        ("\ud83d half", "half"),
        ("x" * 200, "x" * 80),
        ("x" * 79 + " yz", "x" * 79),
        ("\u200b" * 1_000_000, ""),
    ],
)
def test_title_is_one_line_of_visible_characters(message: str, title: str) -> None:
    assert title_of(message) == title
