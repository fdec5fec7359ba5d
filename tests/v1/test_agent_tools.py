"""Tools that a caller of the model ``agent`` has itself, beside those of the agent."""

import json
from typing import Any

import httpx2
import openai
import pytest

from tests.conftest import StandIn
from tests.v1.agent_calls import (
    CHAT,
    CODEX_TOOLS,
    FLAT_TOOL,
    PARAMETERS,
    RESPONSES,
    TOOL,
    ask,
    names,
    respond,
    user,
)
from tests.v1.test_errors import error_of


async def test_call_of_the_caller_s_tool_ends_the_answer_and_its_result_is_taken(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    messages = user("get_weather in Paris")
    called = await ask(client, messages)
    assert (called["content"], called["finish_reason"]) == (None, "tool_calls")
    (call,) = called["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert {"get_weather", "server_time"} <= {*names(stand_in.bodies()[0])}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "rain"}
    sent = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = await ask(client, [*messages, sent, result])
    assert (answer["content"], answer["finish_reason"]) == (
        "[stand-in] The tool answered: rain",
        "stop",
    )
    assert "tool_calls" not in answer
    assert stand_in.bodies()[1]["messages"][-3:] == [*messages, sent, result]


async def test_agent_s_own_tools_run_before_the_caller_s_are_called(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["server_time"])
    stand_in.fault(call_tools=["get_weather"], text="One moment.")
    called = await ask(client, user("Weather?"))
    assert called["content"] == "One moment."
    assert [call["function"]["name"] for call in called["tool_calls"]] == ["get_weather"]
    assert called["reasoning_content"].startswith("server_time: done in ")


async def test_own_tools_called_beside_the_caller_s_are_not_run(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["generate_image", "get_weather"])
    called = await ask(client, user("Weather?"))
    assert [call["function"]["name"] for call in called["tool_calls"]] == ["get_weather"]
    assert "reasoning_content" not in called
    assert len(stand_in.requests()) == 1


async def test_caller_s_tool_stands_in_for_one_of_ours_of_the_same_name(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    tool = {"type": "function", "function": {"name": "server_time"}}
    called = await ask(client, user("server_time"), tools=[tool])
    assert [call["function"]["name"] for call in called["tool_calls"]] == ["server_time"]
    assert names(stand_in.bodies()[0]).count("server_time") == 1


@pytest.mark.parametrize(
    ("choice", "offered"),
    [
        ("required", {"get_weather"}),
        ({"type": "function", "function": {"name": "get_weather"}}, {"get_weather"}),
        ("auto", {"get_weather", "server_time"}),
        ("none", {"server_time"}),
    ],
)
async def test_choice_of_tools_is_of_the_caller_s(
    client: httpx2.AsyncClient, stand_in: StandIn, choice: Any, offered: set[str]
) -> None:
    await ask(client, user("Hello"), tool_choice=choice, parallel_tool_calls=False)
    (body,) = stand_in.bodies()
    assert {"get_weather", "server_time"} & {*names(body)} == offered
    assert body.get("tool_choice") == (None if choice == "none" else choice)
    assert body.get("parallel_tool_calls") == (None if choice == "none" else False)


async def test_streamed_call_is_one_that_openai_s_client_reads(api: openai.AsyncOpenAI) -> None:
    async with api.chat.completions.stream(
        model="agent",
        messages=[{"role": "user", "content": "get_weather in Paris"}],
        tools=[{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}],
    ) as stream:
        (choice,) = (await stream.get_final_completion()).choices
    assert choice.finish_reason == "tool_calls"
    (call,) = list(choice.message.tool_calls or [])
    assert json.loads(call.function.arguments) == {"city": "get_weather in Paris"}


async def test_responses_call_the_caller_s_functions(api: openai.AsyncOpenAI) -> None:
    async with api.responses.stream(
        model="agent",
        input="get_weather in Paris",
        tools=[
            {
                "type": "function",
                "name": "get_weather",
                "parameters": {**PARAMETERS},
                "strict": False,
            }
        ],
    ) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert "response.function_call_arguments.done" in kinds
    (call,) = final.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "get_weather in Paris"}


async def test_tools_of_texts_in_namespaces_are_called_as_codex_has_them(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["exec"], tool_arguments='{"input": "text(1)"}')
    items: list[Any] = [CODEX_TOOLS, *user("Run it")]
    (call,) = (await respond(client, items))["output"]
    shown = {key: value for key, value in call.items() if key not in ("id", "call_id")}
    assert shown == {
        "type": "custom_tool_call",
        "status": "completed",
        "namespace": "functions",
        "name": "exec",
        "input": "text(1)",
    }
    output = {"type": "custom_tool_call_output", "call_id": call["call_id"], "output": "1"}
    answer = await respond(client, [*items, call, output])
    assert answer["output"][0]["content"][0]["text"] == "[stand-in] The tool answered: 1"
    (sent,) = (m for m in stand_in.bodies()[1]["messages"] if m.get("tool_calls"))
    assert sent["tool_calls"][0]["function"] == {
        "name": "exec",
        "arguments": '{"input": "text(1)"}',
    }


async def test_tools_that_a_search_brought_are_the_caller_s_too(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    found = {"type": "tool_search_output", "id": "ts_1", "call_id": "c", "tools": [FLAT_TOOL]}
    search = {"type": "tool_search_call", "call_id": "c", "arguments": {"query": "weather"}}
    await respond(client, [*user("Weather?"), search, found, *user("Go on")])
    assert "get_weather" in names(stand_in.bodies()[0])


async def test_functions_of_one_name_in_two_namespaces_stay_apart(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["b__find"])
    spaces = [
        {"type": "namespace", "name": name, "tools": [{"type": "function", "name": "find"}]}
        for name in ("a", "b")
    ]
    answer = await respond(client, "Find it", tools=spaces)
    assert {"a__find", "b__find"} <= {*names(stand_in.bodies()[0])}
    assert [(each["namespace"], each["name"]) for each in answer["output"]] == [("b", "find")]


async def test_tools_that_only_openai_has_are_left_out(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    answer = await respond(client, "Hello", tools=[{"type": "web_search"}, FLAT_TOOL])
    assert answer["tools"] == [FLAT_TOOL]
    assert "web_search" not in names(stand_in.bodies()[0])


@pytest.mark.parametrize(
    ("path", "tools", "param"),
    [
        (CHAT, "none", "tools"),
        (CHAT, [{"type": "custom", "custom": {"name": "x"}}], "tools.0"),
        (CHAT, [TOOL] * 129, "tools"),
        (RESPONSES, [FLAT_TOOL, {"type": "function"}], "tools.1.name"),
        (RESPONSES, [{"type": "function", "name": f"f{n}"} for n in range(129)], "tools"),
    ],
)
async def test_wrong_tools_are_refused_by_their_place(
    client: httpx2.AsyncClient, stand_in: StandIn, path: str, tools: Any, param: str
) -> None:
    given = {"messages": user("Hello")} if path == CHAT else {"input": "Hello"}
    response = await client.post(path, json={"model": "agent", "tools": tools, **given})
    assert (response.status_code, error_of(response)["param"]) == (400, param)
    assert stand_in.requests() == []
