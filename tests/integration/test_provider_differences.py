"""What providers and models do differently, each against the stand-in's switch for it."""

from typing import Any

import httpx2
import pytest

from tests.conftest import MakeClient, StandIn

DOORS: dict[str, dict[str, Any]] = {
    "/tools/chat_completion": {"prompt": "one two three four"},
    "/chat": {"message": "one two three four", "tools": "none"},
}


def text_of(answer: dict[str, Any]) -> str:
    return str(answer.get("text", answer.get("answer")))


@pytest.mark.parametrize("door", DOORS)
async def test_refused_temperature_is_left_out_once_and_for_all(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn, door: str
) -> None:
    client = make_client(environment | {"OPENAI_TEMPERATURE": "0.3"})
    stand_in.fault(rejects=["temperature"], times=9)
    for _ in range(2):
        response = await client.post(door, json=DOORS[door])
        assert response.status_code == 200, response.text
    assert ["temperature" in body for body in stand_in.bodies()] == [True, False, False]


async def test_several_refused_parameters_are_left_out(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(rejects=["temperature", "top_p", "max_completion_tokens"], times=9)
    arguments = {"prompt": "hi", "temperature": 1, "top_p": 0.5, "max_tokens": 3, "seed": 7}
    response = await client.post("/tools/chat_completion", json=arguments)
    assert response.status_code == 200, response.text
    *_, last = stand_in.bodies()
    assert len(stand_in.bodies()) == 4
    assert {name: last[name] for name in last if name != "messages"} == {
        "model": "gpt-6-luna",
        "max_tokens": 3,
        "seed": 7,
    }


async def test_what_is_learned_of_one_model_says_nothing_of_another(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(rejects=["temperature"])
    await client.post("/tools/generate", json={"prompt": "hi", "temperature": 1})
    await client.post("/tools/generate", json={"prompt": "hi", "temperature": 1, "model": "other"})
    assert ["temperature" in body for body in stand_in.bodies()] == [True, False, True]


@pytest.mark.parametrize("message", ["Invalid 'temperature': too hot.", "Unsupported: 'seed'."])
async def test_other_refusals_are_passed_on(
    client: httpx2.AsyncClient, stand_in: StandIn, message: str
) -> None:
    stand_in.fault(status=400, message=message)
    arguments = {"prompt": "hi", "temperature": 1, "seed": 7}
    response = await client.post("/tools/chat_completion", json=arguments)
    assert (response.status_code, response.json()["code"]) == (400, "provider_rejected")
    assert len(stand_in.requests()) == 1


@pytest.mark.parametrize("style", ["azure", "gemini"])
async def test_tools_are_called_whatever_the_style(
    client: httpx2.AsyncClient, stand_in: StandIn, style: str
) -> None:
    stand_in.fault(style=style, call_tools=["server_time", "server_time", "list_tasks"])
    stand_in.fault(style=style)
    answer = (await client.post("/chat", json={"message": "go"})).json()
    assert [call["name"] for call in answer["tool_calls"]] == [
        "server_time",
        "server_time",
        "list_tasks",
    ]
    assert [call["is_error"] for call in answer["tool_calls"]] == [False] * 3
    assert (answer["finish_reason"], answer["model"]) == ("stop", "gpt-6-luna")
    *_, assistant, one, two, three = stand_in.bodies()[-1]["messages"]
    ids = [call["id"] for call in assistant["tool_calls"]]
    assert len(set(ids)) == 3
    assert all(ids)
    assert [message["tool_call_id"] for message in (one, two, three)] == ids


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("style", ["azure", "gemini"])
@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
async def test_reasons_for_the_end_are_openais(
    client: httpx2.AsyncClient, stand_in: StandIn, door: str, style: str, reason: str
) -> None:
    stand_in.fault(style=style, finish_reason=reason)
    answer = (await client.post(door, json=DOORS[door])).json()
    assert answer["finish_reason"] == reason


@pytest.mark.parametrize("door", DOORS)
async def test_filter_in_the_middle_leaves_what_was_said(
    client: httpx2.AsyncClient, stand_in: StandIn, door: str
) -> None:
    stand_in.fault(filter_after=2, text="Fine words, then none.")
    answer = (await client.post(door, json=DOORS[door])).json()
    assert (text_of(answer), answer["finish_reason"]) == ("Fine words,", "content_filter")


@pytest.mark.parametrize("door", DOORS)
async def test_filter_that_leaves_nothing_is_an_error(
    client: httpx2.AsyncClient, stand_in: StandIn, door: str
) -> None:
    stand_in.fault(filter_after=0)
    response = await client.post(door, json=DOORS[door])
    assert (response.status_code, response.json()["code"]) == (400, "content_filtered")
