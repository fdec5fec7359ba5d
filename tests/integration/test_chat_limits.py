"""What one chat request may cost: model calls, tool calls, and calls of tools that cost money."""

from typing import Any

import httpx2

from shared.agent.executor import MAX_CALLS, MAX_PAID_CALLS
from tests.conftest import MakeClient, StandIn

PAID = {
    "chat_completion",
    "generate",
    "generate_image",
    "edit_image",
    "synthesize_speech",
    "transcribe_audio",
    "generate_video",
}
PROMPT = '{"prompt": "x"}'


async def ask(client: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/chat", json={"message": "go", **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def results(answer: dict[str, Any]) -> tuple[int, list[str]]:
    """How many calls were run, and what the others were answered."""
    refused = [call["result"] for call in answer["tool_calls"] if call["is_error"]]
    return len(answer["tool_calls"]) - len(refused), refused


async def test_caller_gets_no_more_model_calls_than_the_operator_allows(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(environment | {"CHAT_MAX_TURNS": "2"})
    stand_in.fault(call_tools=["server_time"], times=20)
    assert (await ask(client, max_turns=20))["turns"] == 3
    assert (await ask(client, max_turns=1))["turns"] == 2


async def test_of_one_answer_only_so_many_calls_run_and_the_model_is_told(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["server_time"] * 200)
    answer = await ask(client)
    run, refused = results(answer)
    assert (run, len(refused)) == (MAX_CALLS, 200 - MAX_CALLS)
    assert set(refused) == {
        "Not run: of one answer at most 32 tool calls are run. Make the others in the next one."
    }
    *_, last = stand_in.bodies()
    told = [each["content"] for each in last["messages"] if each["role"] == "tool"]
    assert len(told) == 200
    assert told[MAX_CALLS:] == refused
    assert not any(text in refused for text in told[:MAX_CALLS])


async def test_next_answer_may_make_as_many_calls_again(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["server_time"] * MAX_CALLS, times=2)
    assert results(await ask(client)) == (2 * MAX_CALLS, [])


async def test_one_message_pays_for_only_so_many_calls_over_all_its_answers(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    calls = {"call_tools": ["generate_image", "add_task"] * 6, "tool_arguments": PROMPT}
    stand_in.fault(**calls)
    # The six pictures of the first answer come as they should.
    stand_in.fault(times=6)
    stand_in.fault(**calls)
    answer = await ask(client)
    drawn = [call for call in answer["tool_calls"] if call["name"] == "generate_image"]
    assert [call["is_error"] for call in drawn].count(False) == MAX_PAID_CALLS
    refused = {call["result"] for call in drawn if call["is_error"]}
    assert len(refused) == 1
    assert "its limit of 8 paid tool calls" in refused.pop()
    paid = [each for each in stand_in.requests() if each["path"] == "/v1/images/generations"]
    assert len(paid) == MAX_PAID_CALLS
    # What costs nothing is not counted: its calls got as far as their own arguments.
    free = [call for call in answer["tool_calls"] if call["name"] == "add_task"]
    assert len(free) == 12
    assert all("title: This field is required" in call["result"] for call in free)


async def test_every_message_may_pay_anew(client: httpx2.AsyncClient, stand_in: StandIn) -> None:
    stand_in.fault(call_tools=["generate_image"] * MAX_PAID_CALLS, tool_arguments=PROMPT)
    first = await ask(client)
    stand_in.fault(call_tools=["generate_image"], tool_arguments=PROMPT)
    second = await ask(client, conversation_id=first["conversation_id"])
    assert (results(first), results(second)) == ((MAX_PAID_CALLS, []), (1, []))


async def test_refused_calls_are_part_of_the_conversation(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["server_time"] * (MAX_CALLS + 2))
    answer = await ask(client)
    page = (await client.get(f"/conversations/{answer['conversation_id']}")).json()
    stored = [each["result"] for each in page["messages"] if each["role"] == "tool"]
    assert sorted(map(str, stored)) == sorted(str(call["result"]) for call in answer["tool_calls"])


async def test_list_of_tools_says_which_cost_money(client: httpx2.AsyncClient) -> None:
    tools = (await client.get("/tools")).json()["tools"]
    assert {each["name"] for each in tools if each["paid"]} == PAID


async def test_limits_are_documented(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    described = document["paths"]["/chat"]["post"]["description"]
    assert f"at most {MAX_CALLS} tool calls" in described
    assert f"at most {MAX_PAID_CALLS} calls" in " ".join(described.split())


async def test_arguments_without_end_are_no_arguments(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["server_time"], tool_arguments='{"a": ' + "[" * 100_000)
    _, [refused] = results(await ask(client))
    assert "not a JSON object" in refused
