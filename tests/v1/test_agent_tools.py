"""Tools that a caller of the model ``agent`` has itself, beside those of the agent."""

import json
from typing import Any

import httpx2
import openai
import pytest

from tests.conftest import StandIn
from tests.v1.test_errors import error_of

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
PARAMETERS: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
FUNCTION = {"name": "get_weather", "parameters": PARAMETERS}
TOOL = {"type": "function", "function": FUNCTION}
FLAT_TOOL = {"type": "function", **FUNCTION}
CODEX_TOOLS = {
    "type": "additional_tools",
    "role": "developer",
    "tools": [
        {
            "type": "namespace",
            "name": "functions",
            "tools": [{"type": "custom", "name": "exec", "description": "Runs code"}],
        }
    ],
}


def names(body: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in body.get("tools", [])]


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


async def ask(client: httpx2.AsyncClient, messages: list[Any], **more: Any) -> dict[str, Any]:
    body = {"model": "agent", "messages": messages, "tools": [TOOL], **more}
    response = await client.post(CHAT, json=body)
    assert response.status_code == 200, response.text
    (choice,) = response.json()["choices"]
    choice["message"]["finish_reason"] = choice["finish_reason"]
    message: dict[str, Any] = choice["message"]
    return message


async def respond(client: httpx2.AsyncClient, items: Any, **more: Any) -> dict[str, Any]:
    response = await client.post(RESPONSES, json={"model": "agent", "input": items, **more})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


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


async def test_results_of_calls_made_at_once_stand_together_before_their_pictures(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    def call(number: int) -> dict[str, Any]:
        return {"type": "function_call", "call_id": f"c{number}", "name": "f", "arguments": "{}"}

    picture = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    items = [
        *user("Look"),
        {"type": "reasoning", "id": "rs_1", "summary": []},
        call(1),
        call(2),
        {"type": "function_call_output", "call_id": "c1", "output": [picture]},
        {"type": "function_call_output", "call_id": "c2", "output": "two"},
    ]
    await respond(client, items)
    _, said, called, first, second, looked = stand_in.bodies()[0]["messages"]
    assert said["content"] == "Look"
    assert [each["id"] for each in called["tool_calls"]] == ["c1", "c2"]
    assert [first["content"], second["content"]] == ["", "two"]
    assert looked["content"][0]["image_url"]["url"] == picture["image_url"]


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


async def test_work_of_own_tools_comes_back_in_the_next_request_where_the_client_keeps_reasoning(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    kept = {"include": ["reasoning.encrypted_content"], "tools": [FLAT_TOOL]}
    stand_in.fault(call_tools=["server_time"])
    stand_in.fault(call_tools=["get_weather"])
    first = (await respond(client, user("Weather?"), **kept))["output"]
    assert [item["type"] for item in first] == ["reasoning", "function_call"]
    result = {"type": "function_call_output", "call_id": first[1]["call_id"], "output": "rain"}
    items = [*user("Weather?"), *first, result]
    await respond(client, items, **kept)
    before, after = (body["messages"] for body in stand_in.bodies()[1:])
    called, answered, *_ = after[-4:]
    assert called["tool_calls"][0]["function"] == before[-2]["tool_calls"][0]["function"]
    assert answered["tool_call_id"] == called["tool_calls"][0]["id"]
    assert answered["content"] == before[-1]["content"]
    items[1]["encrypted_content"] = items[1]["encrypted_content"][:-8]
    response = await client.post(RESPONSES, json={"model": "agent", "input": items})
    assert (response.status_code, error_of(response)["param"]) == (400, "input")


async def test_reasoning_of_other_models_and_unasked_for_work_is_left_out(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["server_time"])
    (reasoning, _) = (await respond(client, "Time?"))["output"]
    assert "encrypted_content" not in reasoning
    foreign = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}
    await respond(client, [*user("Time?"), foreign])
    assert [each["role"] for each in stand_in.bodies()[-1]["messages"]] == ["system", "user"]


@pytest.mark.parametrize("include", [[], ["reasoning.encrypted_content"]])
async def test_session_that_goes_on_with_another_model_sends_it_no_reasoning_of_the_agent(
    client: httpx2.AsyncClient, stand_in: StandIn, include: list[str]
) -> None:
    stand_in.fault(call_tools=["server_time"])
    reasoning, message = (await respond(client, "Time?", include=include))["output"]
    foreign = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    items = [*user("Time?"), reasoning, message, foreign, *user("And now?")]
    response = await client.post(RESPONSES, json={"model": "gpt-6-luna", "input": items})
    assert response.status_code == 200, response.text
    first, *work, last, other, again = stand_in.bodies()[-1]["input"]
    assert [first, last, other, again] == [items[0], message, foreign, items[-1]]
    if not include:
        assert work == []
        return
    call, result = work
    assert (call["type"], call["name"], call["arguments"]) == ("function_call", "server_time", "{}")
    assert (result["type"], result["call_id"]) == ("function_call_output", call["call_id"])
    assert "[MCP Server Time]" in result["output"]


async def test_work_of_tools_that_the_agent_does_not_have_stays_in_the_conversation(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    shell = {"commands": ["ls"], "timeout_ms": None, "max_output_length": None}
    streams = [{"stdout": "a.txt", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]
    screenshot = {"type": "computer_screenshot", "image_url": "data:image/png;base64,AAAA"}
    logs = [{"type": "logs", "logs": "2"}]
    code = {"container_id": "cntr_1", "code": "1 + 1", "outputs": logs}
    items: list[Any] = [
        *user("Go on"),
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}},
        {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "docs", "tools": []},
        {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", **code},
        {
            "type": "mcp_call",
            "id": "m",
            "server_label": "d",
            "name": "f",
            "arguments": "{}",
            "output": "3",
        },
        {
            "type": "shell_call",
            "id": "sh_1",
            "call_id": "c1",
            "action": shell,
            "status": "completed",
        },
        {
            "type": "computer_call",
            "id": "cc_1",
            "call_id": "c2",
            "actions": [{"type": "screenshot"}],
        },
        {"type": "shell_call_output", "call_id": "c1", "output": streams},
        {"type": "computer_call_output", "call_id": "c2", "output": screenshot},
        {"type": "image_generation_call", "id": "ig_1", "result": "BBBB", "status": "completed"},
        *user("And now?"),
    ]
    await respond(client, items)
    (sent,) = stand_in.bodies()
    assert "cntr_1" not in str(sent)
    first, code_call, code_output, mcp, mcp_output, calls, *rest = sent["messages"][1:]
    assert first["content"] == "Go on"
    told = [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for message in (code_call, mcp, calls)
        for call in message["tool_calls"]
    ]
    assert told == [
        ("code_interpreter", {"code": "1 + 1"}),
        ("f", {}),
        ("shell", {"action": shell}),
        ("computer", {"actions": [{"type": "screenshot"}]}),
    ]
    assert [code_output["content"], mcp_output["content"]] == ["2", "3"]
    listed, seen, screen, drawn, last = rest
    assert json.loads(listed["content"]) == streams
    assert (listed["tool_call_id"], seen["tool_call_id"]) == ("c1", "c2")
    assert screen["content"][0]["image_url"]["url"] == screenshot["image_url"]
    assert drawn["content"][1]["image_url"]["url"] == "data:image/png;base64,BBBB"
    assert last["content"] == "And now?"


@pytest.mark.parametrize(
    "item",
    [
        {"type": "compaction", "encrypted_content": "gAAAA"},
        {"type": "item_reference", "id": "msg_1"},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed"},
        {"type": "mcp_approval_response", "approval_request_id": "r", "approve": True},
        "text",
    ],
)
async def test_item_without_which_the_conversation_would_be_another_is_refused(
    client: httpx2.AsyncClient, stand_in: StandIn, item: Any
) -> None:
    body = {"model": "agent", "input": [*user("Go on"), item]}
    response = await client.post(RESPONSES, json=body)
    assert (response.status_code, error_of(response)["param"]) == (400, "input.1")
    assert stand_in.requests() == []


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
