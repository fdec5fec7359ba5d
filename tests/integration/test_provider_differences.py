"""What providers and models do differently, each against the stand-in's switch for it."""

import json
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


REFUSALS = [
    "Unrecognized request argument supplied: {name}",
    "[{{'type': 'extra_forbidden', 'loc': ('body', '{name}')}}]",
    "{name}: Extra inputs are not permitted",
    "Unknown parameter: '{name}'.",
]
"""How compatible servers say that they do not know a parameter."""


@pytest.mark.parametrize("wording", REFUSALS)
@pytest.mark.parametrize("status", [400, 422])
async def test_older_server_gets_the_older_name(
    client: httpx2.AsyncClient, stand_in: StandIn, wording: str, status: int
) -> None:
    stand_in.fault(status=status, message=wording.format(name="max_completion_tokens"))
    arguments = {"prompt": "hi", "max_tokens": 3}
    response = await client.post("/tools/chat_completion", json=arguments)
    assert response.status_code == 200, response.text
    sent = [{name for name in body if name.startswith("max_")} for body in stand_in.bodies()]
    assert sent == [{"max_completion_tokens"}, {"max_tokens"}]


@pytest.mark.parametrize("style", [None, "gemini"])
@pytest.mark.parametrize("name", ["parallel_tool_calls", "top_p"])
async def test_refused_parameter_that_was_passed_on_is_left_out_too(
    client: httpx2.AsyncClient, stand_in: StandIn, style: str | None, name: str
) -> None:
    stand_in.fault(rejects=[name], style=style, times=9)
    arguments = {"prompt": "hi", "extra": {name: 0, "seed": 7}}
    response = await client.post("/tools/generate", json=arguments)
    assert response.status_code == 200, response.text
    first, second = stand_in.bodies()
    assert first == {**second, name: 0}
    assert second["seed"] == 7


async def test_parameter_that_is_refused_though_it_was_not_sent_is_the_callers_matter(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(status=400, message="Unsupported parameter: 'temperature'.", times=9)
    response = await client.post("/tools/generate", json={"prompt": "hi"})
    assert (response.status_code, response.json()["code"]) == (400, "provider_rejected")
    assert len(stand_in.requests()) == 1


async def test_parameter_that_is_refused_again_is_not_tried_again(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(status=400, message="Unsupported parameter: 'temperature'.", times=9)
    response = await client.post("/tools/generate", json={"prompt": "hi", "temperature": 1})
    assert (response.status_code, response.json()["code"]) == (400, "provider_rejected")
    assert len(stand_in.requests()) == 2


async def test_geminis_refusal_is_passed_on_as_its_sentence(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(rejects=["seed"], style="gemini")
    response = await client.post("/tools/chat_completion", json={"prompt": "hi", "seed": 7})
    assert (response.status_code, response.json()["detail"]) == (
        400,
        'The provider rejected the request: Unknown name "seed": Cannot find field.',
    )


async def test_chat_never_asks_for_parallel_calls(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    await client.post("/chat", json={"message": "server_time"})
    assert all("parallel_tool_calls" not in body for body in stand_in.bodies())


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


EVENT = {"id": "c", "object": "chat.completion.chunk", "model": "m", "created": 0}


def said(text: str, reason: str | None = None) -> dict[str, Any]:
    """Returns a chunk with text, and perhaps with the reason for the end."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return {**EVENT, "choices": [choice]}


FILTERED = {"error": {"code": "content_filter", "message": "Filtered.", "type": "x"}}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


async def chat_over(
    client: httpx2.AsyncClient, stand_in: StandIn, *events: dict[str, Any]
) -> httpx2.Response:
    stand_in.fault(body="".join(f"data: {json.dumps(event)}\n\n" for event in events))
    return await client.post("/chat", json={"message": "hi"})


async def test_filters_error_in_the_middle_leaves_what_was_said(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    response = await chat_over(client, stand_in, said("Fine"), said(" words"), FILTERED)
    answer = response.json()
    assert (text_of(answer), answer["finish_reason"]) == ("Fine words", "content_filter")


async def test_filters_error_before_anything_was_said_is_an_error(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    response = await chat_over(client, stand_in, said(""), FILTERED)
    assert (response.status_code, response.json()["code"]) == (400, "content_filtered")


async def test_stream_that_ends_with_its_usage_and_no_reason_was_cut(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    last = {**EVENT, "choices": [], "usage": USAGE}
    response = await chat_over(client, stand_in, said("Hello"), last)
    assert (response.status_code, response.json()["code"]) == (502, "provider_truncated")


async def test_usage_alone_is_no_answer(client: httpx2.AsyncClient, stand_in: StandIn) -> None:
    response = await chat_over(client, stand_in, {**EVENT, "choices": [], "usage": USAGE})
    assert (response.status_code, response.json()["code"]) == (502, "provider_truncated")


async def test_signature_of_geminis_thoughts_goes_back_with_the_call(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(style="gemini", times=9)
    answer = (await client.post("/chat", json={"message": "server_time, list_tasks"})).json()
    assert answer["turns"] == 2
    *_, assistant, _, _ = stand_in.bodies()[-1]["messages"]
    signature = {"google": {"thought_signature": "c2lnbmVk"}}
    assert [call.get("extra_content") for call in assistant["tool_calls"]] == [signature, None]


async def test_conversation_moves_from_gemini_to_azure(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    stand_in.fault(style="gemini", times=3)
    gemini = make_client(environment)
    first = (await gemini.post("/chat", json={"message": "server_time"})).json()
    more = {"message": "Thanks", "conversation_id": first["conversation_id"]}
    assert (await gemini.post("/chat", json=more)).json()["turns"] == 1
    azure = {
        "OPENAI_BASE_URL": "",
        "AZURE_OPENAI_ENDPOINT": stand_in.base_url.removesuffix("/v1"),
        "AZURE_OPENAI_API_KEY": "azure-key",
        "AZURE_OPENAI_CHAT_DEPLOYMENT": "mine",
    }
    assert (await make_client(environment | azure).post("/chat", json=more)).json()["turns"] == 1
    parts = [
        [
            "extra_content" in call
            for message in body["messages"]
            for call in message.get("tool_calls") or ()
        ]
        for body in stand_in.bodies()
    ]
    assert parts == [[], [True], [True], [False]]


async def test_what_one_caller_adds_says_nothing_of_the_others(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    stand_in.fault(status=400, message=words)
    odd = {"prompt": "hi", "max_tokens": 5, "extra": {"max_tokens": 5}}
    assert (await client.post("/tools/generate", json=odd)).status_code == 400
    stand_in.fault(rejects=["temperature"])
    odd = {"prompt": "hi", "extra": {"temperature": 1}}
    assert (await client.post("/tools/generate", json=odd)).status_code == 200
    usual = {"prompt": "hi", "max_tokens": 5, "temperature": 1}
    assert (await client.post("/tools/generate", json=usual)).status_code == 200
    last = stand_in.bodies()[-1]
    assert (last["max_completion_tokens"], last["temperature"]) == (5, 1)
