import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from shared.agent import Agent, ChatCompleted, ChatEvent, ChatInput, calls, fold
from shared.agent.events import (
    ChatCreated,
    ChatDelta,
    ToolCallStarted,
    ToolFinished,
    ToolProgressed,
)
from shared.agent.executor import MAX_PARALLEL_CALLS
from shared.app import create_app
from shared.auth import Principal
from shared.context import CallContext
from shared.deadline import Deadline
from shared.services import Services
from shared.settings import load_settings
from shared.tools import tool
from shared.tools.clock import ServerTime
from tests.agents import make_agent
from tests.conftest import AUTH, CHAT_TOOLS, MakeClient, StandIn, ThreadServer
from tests.waiting import until


async def ask(client: httpx2.AsyncClient, message: str, **fields: Any) -> dict[str, Any]:
    response = await client.post("/chat", json={"message": message, **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_question_about_the_time_calls_the_clock(client: httpx2.AsyncClient) -> None:
    answer = await ask(client, "What is the current server time?")
    assert set(answer) == {
        "answer",
        "conversation_id",
        "model",
        "finish_reason",
        "tool_calls",
        "usage",
        "turns",
    }
    assert "[MCP Server Time]" in answer["answer"]
    (call,) = answer["tool_calls"]
    assert call.pop("duration_ms") >= 0
    result = call.pop("result")
    assert result["server_time"].startswith("[MCP Server Time] ")
    assert call == {"name": "server_time", "arguments": {}, "is_error": False}
    assert (answer["turns"], answer["finish_reason"], answer["model"]) == (2, "stop", "gpt-6-luna")


async def test_joke_calls_nothing(client: httpx2.AsyncClient) -> None:
    answer = await ask(client, "Tell me a joke")
    assert (answer["tool_calls"], answer["turns"]) == ([], 1)
    assert "[MCP Server Time]" not in answer["answer"]


async def test_usage_is_summed_over_turns(client: httpx2.AsyncClient, stand_in: StandIn) -> None:
    answer = await ask(client, "server_time please")
    first, second = stand_in.bodies()
    words = sum(
        len((message["content"] or "").split())
        for body in (first, second)
        for message in body["messages"]
    )
    assert answer["usage"]["prompt_tokens"] == words
    assert answer["usage"]["total_tokens"] == words + answer["usage"]["completion_tokens"]


async def test_model_is_offered_every_tool_and_sees_the_results(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    answer = await ask(client, "server_time and list_supported_models", system_prompt="Be brief")
    first, second = (body for body in stand_in.bodies() if body is not None)
    offered = {each["function"]["name"]: each["function"] for each in first["tools"]}
    assert set(offered) == set(CHAT_TOOLS)
    listed = (await client.get("/tools")).json()["tools"]
    for each in listed:
        if each["name"] not in CHAT_TOOLS:
            continue
        assert offered[each["name"]]["parameters"] == each["inputSchema"]
        assert offered[each["name"]]["description"] == each["description"]
    assert first["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "server_time and list_supported_models"},
    ]
    assert first["stream"] is True
    *_, assistant, one, two = second["messages"]
    ids = [call["id"] for call in assistant["tool_calls"]]
    assert [message["tool_call_id"] for message in (one, two)] == ids
    contents = [json.loads(message["content"]) for message in (one, two)]
    by_name = {call["name"]: call["result"] for call in answer["tool_calls"]}
    names = [call["function"]["name"] for call in assistant["tool_calls"]]
    assert contents == [by_name[name] for name in names]


async def test_named_tools_are_all_that_is_offered(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    await ask(client, "hello", tools=["server_time"])
    await ask(client, "server_time", tools="none")
    await ask(client, "server_time", tools=[])
    first, second, third = stand_in.bodies()
    assert [each["function"]["name"] for each in first["tools"]] == ["server_time"]
    assert "tools" not in second
    assert "tools" not in third


async def test_unknown_named_tool_answers_422(client: httpx2.AsyncClient) -> None:
    response = await client.post("/chat", json={"message": "hi", "tools": ["nope"]})
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["loc"] == ["body", "tools"]
    assert "nope" in error["msg"]
    assert "server_time" in error["msg"]


@pytest.mark.parametrize(("field", "value"), [("conversation_id", "abc"), ("connections", ["abc"])])
async def test_unknown_id_answers_404(
    client: httpx2.AsyncClient, field: str, value: object
) -> None:
    response = await client.post("/chat", json={"message": "hi", field: value})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert "'abc'" in response.json()["detail"]


async def test_connections_none_is_accepted(client: httpx2.AsyncClient) -> None:
    assert (await ask(client, "hi", connections="none"))["turns"] == 1


@pytest.mark.parametrize("arguments", ["{broken", "[1]", '"text"'])
async def test_bad_json_arguments_are_answered_to_the_model(
    client: httpx2.AsyncClient, stand_in: StandIn, arguments: str
) -> None:
    stand_in.fault(tool_arguments=arguments)
    answer = await ask(client, "server_time please")
    (call,) = answer["tool_calls"]
    assert call["is_error"] is True
    assert call["arguments"] == arguments
    assert "not a JSON object" in call["result"]
    assert stand_in.bodies()[1]["messages"][-1]["content"].startswith("Error: ")
    assert answer["turns"] == 2


@pytest.mark.parametrize("depth", [70, 300, 900, 100_000])
@pytest.mark.parametrize("tool", ["server_time", "nope"])
async def test_arguments_nested_too_deep_are_answered_to_the_model(
    client: httpx2.AsyncClient, stand_in: StandIn, depth: int, tool: str
) -> None:
    # The escape makes them be decoded a second time.
    arguments = '{"a":' * depth + r'"\u0041"' + "}" * depth
    stand_in.fault(call_tools=[tool], tool_arguments=arguments)
    stand_in.fault(text="sorry")
    answer = await ask(client, "go")
    (call,) = answer["tool_calls"]
    assert (call["arguments"], call["is_error"]) == (arguments, True)
    assert tool == "nope" or "64 levels" in call["result"]
    page = await client.get(f"/conversations/{answer['conversation_id']}")
    assert page.status_code == 200
    body = {"message": "And?", "conversation_id": answer["conversation_id"]}
    assert (await client.post("/chat", json=body)).status_code == 200


async def test_unknown_tool_is_answered_to_the_model(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["nope", "server_time"])
    answer = await ask(client, "go")
    calls = {call["name"]: call for call in answer["tool_calls"]}
    assert calls["nope"]["is_error"] is True
    assert "no tool 'nope'" in calls["nope"]["result"]
    assert calls["server_time"]["is_error"] is False


async def test_bad_argument_is_answered_to_the_model(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["generate"], tool_arguments='{"promt": "x"}')
    (call,) = (await ask(client, "go", tools=["generate"]))["tool_calls"]
    assert call["is_error"] is True
    assert "prompt: This field is required" in call["result"]
    assert "promt: There is no field of this name" in call["result"]


async def test_failing_tool_is_answered_to_the_model(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["generate"], tool_arguments='{"prompt": "x"}')
    stand_in.fault(status=400, message="No such model")
    answer = await ask(client, "go", tools=["generate"])
    (call,) = answer["tool_calls"]
    assert call["is_error"] is True
    assert "No such model" in call["result"]
    assert answer["turns"] == 2


async def test_turns_end_with_one_call_without_tools(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["server_time"], times=3)
    answer = await ask(client, "go", max_turns=3)
    assert answer["turns"] == 4
    assert len(answer["tool_calls"]) == 3
    assert answer["answer"].count("[MCP Server Time]") == 3
    *with_tools, last = stand_in.bodies()
    assert all("tools" in body for body in with_tools)
    assert "tools" not in last


async def test_configured_prompt_and_turns_are_used(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(environment | {"CHAT_SYSTEM_PROMPT": "Be kind", "CHAT_MAX_TURNS": "1"})
    stand_in.fault(call_tools=["server_time"], times=9)
    answer = await ask(client, "go")
    assert answer["turns"] == 2
    assert stand_in.bodies()[0]["messages"][0] == {"role": "system", "content": "Be kind"}


class Rendezvous:
    """Tools that show how calls run: together, cancelled, or reporting."""

    def __init__(self, parties: int) -> None:
        self.barrier = asyncio.Barrier(parties)
        self.cancelled = 0

    @tool(title="Meet")
    async def meet(self, context: CallContext) -> ServerTime:
        """Waits until all others are here too."""
        await self.barrier.wait()
        return {"server_time": "met"}

    @tool(title="Hang")
    async def hang(self, context: CallContext) -> ServerTime:
        """Never returns."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        raise AssertionError

    @tool(title="Report")
    async def report(self, context: CallContext) -> ServerTime:
        """Reports progress."""
        await context.report_progress(1, 2, "half")
        return {"server_time": "done"}


@pytest.fixture
def tools() -> Rendezvous:
    return Rendezvous(MAX_PARALLEL_CALLS)


@pytest.fixture
async def services(environment: dict[str, str]) -> AsyncIterator[Services]:
    services = Services.make(load_settings(environment))
    yield services
    await services.aclose()


@pytest.fixture
def agent(environment: dict[str, str], services: Services, tools: Rendezvous) -> Agent:
    return make_agent(load_settings(environment), services, tools)


def make_context(seconds: float = 20) -> CallContext:
    return CallContext(Principal("p", frozenset()), Deadline.after(seconds))


async def test_parallel_calls_run_together(agent: Agent, stand_in: StandIn) -> None:
    stand_in.fault(call_tools=["meet"] * MAX_PARALLEL_CALLS)
    answer = await fold(agent.events(ChatInput(message="go"), make_context()))
    assert len(answer["tool_calls"]) == MAX_PARALLEL_CALLS


async def test_parallel_calls_are_bounded(
    environment: dict[str, str], services: Services, tools: Rendezvous, stand_in: StandIn
) -> None:
    agent = make_agent(load_settings(environment), services, tools, tool_timeout=1)
    one_too_many = MAX_PARALLEL_CALLS + 1
    tools.barrier = asyncio.Barrier(one_too_many)
    stand_in.fault(call_tools=["meet"] * one_too_many)
    answer = await fold(agent.events(ChatInput(message="go"), make_context()))
    assert [call["is_error"] for call in answer["tool_calls"]] == [True] * one_too_many


async def test_hanging_tools_do_not_hang_the_chat(
    agent: Agent, stand_in: StandIn, tools: Rendezvous
) -> None:
    stand_in.fault(call_tools=["hang", "hang", "report"])
    answer = await fold(agent.events(ChatInput(message="go"), make_context(8)))
    assert tools.cancelled == 2
    calls = {call["name"]: call for call in answer["tool_calls"]}
    assert calls["hang"]["is_error"] is True
    assert re.fullmatch(
        r"The tool 'hang' did not finish within \d+ seconds\.", calls["hang"]["result"]
    )
    assert calls["report"]["is_error"] is False
    assert "did not finish" in answer["answer"]
    assert answer["turns"] == 2


async def test_one_tool_call_has_its_own_limit(
    environment: dict[str, str], services: Services, tools: Rendezvous, stand_in: StandIn
) -> None:
    agent = make_agent(load_settings(environment), services, tools, tool_timeout=1)
    stand_in.fault(call_tools=["hang"])
    answer = await fold(agent.events(ChatInput(message="go"), make_context(200)))
    (call,) = answer["tool_calls"]
    assert call["result"] == "The tool 'hang' did not finish within 1 seconds."


async def test_leaving_cancels_the_tools(
    agent: Agent, stand_in: StandIn, tools: Rendezvous
) -> None:
    stand_in.fault(call_tools=["hang"])
    events = agent.events(ChatInput(message="go"), make_context())
    async for event in events:
        if isinstance(event, ToolCallStarted):
            break
    await events.aclose()
    assert tools.cancelled == 1


async def test_events_tell_what_happens_as_it_happens(agent: Agent, stand_in: StandIn) -> None:
    stand_in.fault(call_tools=["report"])
    events: list[ChatEvent] = [
        event async for event in agent.events(ChatInput(message="go"), make_context())
    ]
    created, started, progressed, finished, *deltas, completed = events
    assert isinstance(started, ToolCallStarted)
    assert isinstance(finished, ToolFinished)
    assert isinstance(completed, ChatCompleted)
    assert created == ChatCreated(completed.answer["conversation_id"], "gpt-6-luna")
    assert (started.name, started.arguments) == ("report", {})
    assert progressed == ToolProgressed(started.id, 1, 2, "half")
    assert (finished.id, finished.record) == (started.id, completed.answer["tool_calls"][0])
    texts = [delta.text for delta in deltas if isinstance(delta, ChatDelta)]
    assert len(texts) == len(deltas) > 1
    assert "".join(texts) == completed.answer["answer"]


async def test_large_result_is_cut_for_the_model(
    agent: Agent, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MAX_RESULT_CHARS", 10)
    stand_in.fault(call_tools=["report"])
    answer = await fold(agent.events(ChatInput(message="go"), make_context()))
    assert answer["tool_calls"][0]["result"] == {"server_time": "done"}
    message = stand_in.bodies()[1]["messages"][-1]["content"]
    assert message == '{"server_t\n[cut: the result has 22 characters]'


async def test_client_that_leaves_ends_the_work_and_is_logged(
    environment: dict[str, str], stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stand_in.fault(delay=30)
    with ThreadServer(create_app(load_settings(environment))) as server:
        async with httpx2.AsyncClient(base_url=server.origin, headers=AUTH, timeout=60) as client:
            request = asyncio.create_task(client.post("/chat", json={"message": "hi"}))
            await until(lambda: len(stand_in.requests()) == 1)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
        await until(lambda: '"status": 499' in caplog.text)


async def test_halves_of_characters_do_not_end_a_conversation(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(
        call_tools=["add_task"], tool_arguments='{"title": "\\ud83d and \\ud83d\\ude00"}'
    )
    answer = (await client.post("/chat", json={"message": "Go on"})).json()
    [call] = answer["tool_calls"]
    assert call["arguments"] == {"title": "\ufffd and \U0001f600"}
    assert call["result"]["title"] == "\ufffd and \U0001f600"
    body = {"message": "And then?", "conversation_id": answer["conversation_id"]}
    assert (await client.post("/chat", json=body)).status_code == 200


async def test_numbers_that_json_does_not_know_are_no_arguments(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["generate"], tool_arguments='{"temperature": NaN}')
    response = await client.post(
        "/chat", json={"message": "Go on", "stream": True, "tools": ["generate"]}
    )
    assert r'"arguments":"{\"temperature\": NaN}"' in response.text
    assert "not a JSON object" in response.text
