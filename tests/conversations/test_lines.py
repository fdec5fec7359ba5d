"""The stored form of conversations: what is written today, and what an earlier version wrote."""

import json
from pathlib import Path
from typing import get_args

import pytest

from shared.conversations import AssistantLine, EndLine, ToolLine, UserLine
from shared.conversations.lines import (
    ConversationLine,
    HeartbeatLine,
    Line,
    NextPartLine,
    Summary,
    decode,
    encode,
)
from shared.conversations.log import folder_of
from shared.openai_service import ToolCall, Usage
from tests.conftest import StandIn
from tests.conversations.conftest import Talk

FIXTURE = Path(__file__).with_name("conversation-v1.jsonl")
CONVERSATION_ID = "fe5dd84cefa100000000000000000000000000000000"
USAGE = Usage(
    prompt_tokens=3,
    completion_tokens=2,
    total_tokens=5,
    cached_tokens=None,
    reasoning_tokens=None,
)
LINES: list[Line] = [
    ConversationLine(title="Hello"),
    UserLine(content="Hello\n\u2028 \x00 😀"),
    AssistantLine(
        content="",
        tool_calls=(
            ToolCall("1", "server_time", "{}"),
            ToolCall("2", "add_task", '{"title": "x"}', {"google": {"thought": "s"}}),
        ),
        model="m",
        usage=USAGE,
    ),
    ToolLine(
        call_id="1",
        name="server_time",
        result={"a": [1, 2.5, None, True, "é"]},
        is_own=True,
        is_error=False,
        duration_ms=1,
    ),
    HeartbeatLine(),
    EndLine(status="complete", summary=Summary(title="Hello", model=None, usage=USAGE)),
    NextPartLine(),
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.type)
def test_line_is_read_as_it_was_written(line: Line) -> None:
    data = encode(line)
    assert data.count(b"\n") == 1
    assert json.loads(data)["v"] == 1
    assert decode(data) == line


def test_every_kind_of_line_is_tried() -> None:
    assert {type(line) for line in LINES} == set(get_args(Line))


def test_fields_that_a_later_version_added_are_left_out() -> None:
    assert decode(b'{"v": 1, "type": "user", "content": "a", "later": [1]}') == UserLine(
        content="a"
    )


def test_halves_of_characters_are_replaced() -> None:
    assert decode(encode(UserLine(content="\ud83d!"))) == UserLine(content="?!")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"type": "x"}', b'{"type": "user"}'])
def test_what_is_no_line_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(data)


async def test_conversation_that_version_1_has_stored_is_read_and_continued(
    local_talk: Talk, environment: dict[str, str], stand_in: StandIn
) -> None:
    folder = Path(environment["LOCAL_STORAGE_PATH"]) / "state" / folder_of("default")
    folder.mkdir(parents=True)
    (folder / f"{CONVERSATION_ID}.jsonl").write_bytes(FIXTURE.read_bytes())
    [summary] = (await local_talk.http.get("/conversations")).json()["conversations"]
    page = await local_talk.read(CONVERSATION_ID)
    messages = page.pop("messages")
    assert page == {**summary, "cursor": None}
    assert summary == {
        "id": CONVERSATION_ID,
        "title": "What is the current server time?",
        "created_at": "2026-11-29T14:26:16.286Z",
        "updated_at": "2026-11-29T14:26:19.250Z",
        "model": "gpt-6-luna",
        "usage": {
            "prompt_tokens": 90,
            "completion_tokens": 30,
            "total_tokens": 120,
            "cached_tokens": 10,
            "reasoning_tokens": 0,
        },
    }
    assert [(each["role"], each["incomplete"]) for each in messages] == [
        ("user", False),
        ("assistant", False),
        ("tool", False),
        ("assistant", False),
        ("user", True),
    ]
    assert messages[2]["result"] == {"server_time": "2026-11-29T14:26:17Z"}
    await local_talk.say("And now?", CONVERSATION_ID)
    sent = stand_in.bodies()[-1]["messages"][1:]
    assert [each["role"] for each in sent] == ["user", "assistant", "tool", "assistant", "user"]
