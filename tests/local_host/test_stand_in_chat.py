"""The stand-in's chat completions: the tools that it calls, and scripts that say what it answers."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pytest_mock import MockerFixture
from starlette.types import Message

from local.stand_in import create_stand_in, load_script
from shared.asgi import replay
from tests.conftest import StandIn, ThreadServer
from tests.waiting import LIMIT_SECONDS


def function(name: str, **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [
    function("server_time"),
    function("add_task", title={"type": "string"}),
    function("list_tasks"),
    function("complete_task", task_id={"type": "string"}),
    function("generate_image", prompt={"type": "string"}, n={"type": "integer"}),
    function("generate", prompt={"type": "string"}),
    function("docs__search_docs", query={"type": "string"}),
    function("tiny__search_docs", query={"type": "string"}),
]
TASK_ID = "0197d2c4e1aa4c55b0f3a1"


@pytest.fixture
def http(stand_in: StandIn) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stand_in.base_url, timeout=60) as client:
        yield client


def ask(http: httpx2.Client, message: str, *earlier: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": message}, *earlier]
    body = {"model": "m", "messages": messages, "tools": TOOLS}
    response = http.post("/chat/completions", json=body).raise_for_status()
    answer: dict[str, Any] = response.json()["choices"][0]["message"]
    return answer


def calls(answer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in answer.get("tool_calls", [])
    ]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("What is the current server time?", [("server_time", {})]),
        ("server_time, list_tasks", [("server_time", {}), ("list_tasks", {})]),
        ('add_task "now and then a walk"', [("add_task", {"title": "now and then a walk"})]),
        ("Add milk to my list", [("add_task", {"title": "milk"})]),
        (f"complete_task {TASK_ID} please", [("complete_task", {"task_id": TASK_ID})]),
        ("Draw 2 hills", [("generate_image", {"prompt": "Draw 2 hills", "n": 2})]),
        (
            "search docs: 'cold start'",
            [
                ("docs__search_docs", {"query": "cold start"}),
                ("tiny__search_docs", {"query": "cold start"}),
            ],
        ),
        (
            "generate_image of a dog",
            [("generate_image", {"prompt": "generate_image of a dog", "n": 1})],
        ),
        ("Use tiny__search_docs", [("tiny__search_docs", {"query": "Use tiny__search_docs"})]),
        ("Tell me a joke", []),
        ("the observer_times", []),
    ],
)
def test_tools_are_called_that_a_message_names(
    http: httpx2.Client, message: str, expected: list[Any]
) -> None:
    assert calls(ask(http, message)) == expected


def test_tools_are_called_once_for_each_message(http: httpx2.Client) -> None:
    call = ask(http, "server_time")
    result = {"role": "tool", "tool_call_id": "c", "content": "12:00"}
    answer = ask(http, "server_time", call, result)
    assert answer["content"] == "[stand-in] The tool answered: 12:00"


SCRIPT = [
    {"match": {"path": "chat/", "body": "weather", "round": 0}, "call_tools": ["get_weather"]},
    {"match": {"path": "chat/", "body": "weather"}, "text": "It rains."},
    {"match": {"path": "images/"}, "status": 429, "headers": {"Retry-After": "1"}, "times": 1},
]


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[httpx2.Client]:
    """A client of a stand-in that answers by the script."""
    path = tmp_path / "script.json"
    path.write_text(json.dumps(SCRIPT))
    with (
        ThreadServer(create_stand_in(load_script(path))) as server,
        httpx2.Client(base_url=f"{server.origin}/v1", timeout=60) as client,
    ):
        yield client


def test_rules_of_a_file_answer_every_request_that_they_match(scripted: httpx2.Client) -> None:
    for _ in range(2):
        first = ask(scripted, "How is the weather?")
        assert calls(first) == [("get_weather", {})]
        result = {"role": "tool", "tool_call_id": "c", "content": "rain"}
        assert ask(scripted, "How is the weather?", first, result)["content"] == "It rains."
    assert "You said: How are you?" in ask(scripted, "How are you?")["content"]


def test_rule_ends_after_the_times_that_it_is_for(scripted: httpx2.Client) -> None:
    body = {"model": "m", "prompt": "p", "size": "16x16"}
    answers = [scripted.post("/images/generations", json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [429, 200]
    assert answers[0].headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "the script cannot be read: No such file or directory"),
        ("[", "the script: Invalid JSON"),
        ("{}", "the script: Must be an array"),
        ("[1]", "rule 1: Must be an object"),
        ('[{}, {"txt": "Hello"}]', "rule 2, txt: There is no field of this name"),
        ('[{"match": {"body": "("}}]', "rule 1, match.body: not a regular expression"),
        (
            '[{"times": 0}, {"cut": "off"}]',
            "rule 1, times: Must be at least 1; rule 2, cut: Must be",
        ),
    ],
)
def test_malformed_script_is_refused_with_a_sentence(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    path = tmp_path / "script.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {problem}')}"):
        load_script(path)


def test_stand_in_does_not_start_with_a_malformed_script(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text("{}")
    command = [sys.executable, "-m", "local", "stand-in", "--port", "0", "--script", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"{path}: the script: Must be an array")


@pytest.mark.parametrize(
    ("path", "question"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 2000}]}),
        ("/v1/responses", {"input": "word " * 2000}),
    ],
)
async def test_long_answer_is_written_as_it_is_sent_and_leaves_others_their_turn(
    mocker: MockerFixture, path: str, question: dict[str, Any]
) -> None:
    body = json.dumps({"model": "m", "stream": True, **question}).encode()
    head = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": head}
    has_begun = asyncio.Event()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            has_begun.set()
            # This client reads nothing more.
            await asyncio.Future[None]()

    written = mocker.spy(json, "dumps")
    serving = asyncio.create_task(create_stand_in()(scope, replay(body), send))
    async with asyncio.timeout(LIMIT_SECONDS):
        await has_begun.wait()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert written.call_count < 5
