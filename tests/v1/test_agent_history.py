"""Conversations that go on with the model ``agent``, or after it: past calls and reasoning."""

import json
import re
from typing import Any

import httpx2
import pytest

from tests.conftest import StandIn
from tests.v1.agent_calls import CHAT, FLAT_TOOL, RESPONSES, respond, user
from tests.v1.test_errors import error_of


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


@pytest.mark.parametrize("model", ["agent", "gpt-6-luna"])
async def test_past_work_is_the_same_for_the_provider_each_time(
    client: httpx2.AsyncClient, stand_in: StandIn, model: str
) -> None:
    stand_in.fault(call_tools=["server_time"])
    reasoning, message = (await respond(client, "Time?", include=["reasoning.encrypted_content"]))[
        "output"
    ]
    code = {"type": "code_interpreter_call", "container_id": "cntr_1", "code": "1", "outputs": None}
    past = [
        *user("Time?"),
        reasoning,
        message,
        {**code, "id": "ci_1"},
        code,
        {**code, "id": "ci_1"},
    ]
    for items in (past, [*past, *user("And now?")]):
        body = {"model": model, "input": [*items, *user("Go on")]}
        assert (await client.post(RESPONSES, json=body)).status_code == 200
    field = "messages" if model == "agent" else "input"
    first, second = (body[field][:-1] for body in stand_in.bodies()[2:])
    assert second[: len(first)] == first
    said = json.dumps(first)
    assert {said.count(f'"{each}"') for each in re.findall(r"call_[0-9a-f]{24}", said)} == {2}
    assert said.count("code_interpreter") == 3


async def test_assistant_s_message_goes_on_with_all_but_what_shows_its_work(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    shown: dict[str, Any] = {
        "reasoning_content": "server_time: done",
        "annotations": [],
        "refusal": None,
    }
    message = {"role": "assistant", "content": "Noon.", "prefix": True, "contnet": "misspelt"}
    messages = [*user("Time?"), {**message, **shown}, *user("Thanks")]
    response = await client.post(CHAT, json={"model": "agent", "messages": messages})
    assert response.status_code == 200, response.text
    assert stand_in.bodies()[0]["messages"][2] == message
