"""The agent as one more model of OpenAI's API."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from tests.conftest import MakeClient, StandIn, digest
from tests.media.support import png
from tests.v1.test_errors import error_of

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ASK: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "server_time please"}]


async def test_agent_runs_its_tools_and_shows_them_as_reasoning(
    api: openai.AsyncOpenAI, stand_in: StandIn
) -> None:
    completion = await api.chat.completions.create(model="agent", messages=ASK)
    message = completion.choices[0].message
    assert "[MCP Server Time]" in (message.content or "")
    assert message.tool_calls is None
    assert str(message.to_dict()["reasoning_content"]).startswith("server_time: done in ")
    assert (completion.model, completion.choices[0].finish_reason) == ("agent", "stop")
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0
    assert len(stand_in.requests()) == 2


async def test_streamed_agent_sends_no_tool_calls_and_its_usage_where_asked(
    api: openai.AsyncOpenAI,
) -> None:
    stream = await api.chat.completions.create(
        model="agent",
        messages=ASK,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "[MCP Server Time]" in "".join(delta.content or "" for delta in deltas)
    reasoning = "".join(str(delta.to_dict().get("reasoning_content", "")) for delta in deltas)
    assert reasoning.startswith("server_time: done in ")
    assert all(delta.tool_calls is None for delta in deltas)
    assert chunks[-1].usage is not None
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize("model", ["agent", "gpt-6-luna"])
async def test_all_chunks_of_a_stream_have_one_id_one_model_and_one_time(
    api: openai.AsyncOpenAI, model: str
) -> None:
    stream = await api.chat.completions.create(
        model=model, messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert len(chunks) > 3
    assert chunks[-1].usage is not None
    assert len({(chunk.id, chunk.model, chunk.created) for chunk in chunks}) == 1


async def test_agent_answers_responses(api: openai.AsyncOpenAI) -> None:
    whole = await api.responses.create(model="agent", input="server_time please")
    assert "[MCP Server Time]" in whole.output_text
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    assert whole.usage is not None
    async with api.responses.stream(model="agent", input="server_time please") as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert "[MCP Server Time]" in final.output_text
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert "response.reasoning_summary_text.delta" in kinds


async def test_nothing_is_stored_and_the_system_message_stands_in_for_ours(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Again"},
    ]
    response = await client.post(CHAT, json={"model": "agent", "messages": history})
    assert response.status_code == 200, response.text
    assert stand_in.bodies()[0]["messages"] == history
    assert (await client.get("/conversations")).json()["conversations"] == []


async def test_pictures_may_be_parts(client: httpx2.AsyncClient, stand_in: StandIn) -> None:
    stored = await client.post("/media", content=png(), headers={"Content-Type": "image/png"})
    url = f"media://{stored.json()['id']}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What?"}]
    messages = [{"role": "user", "content": parts}]
    response = await client.post(CHAT, json={"model": "agent", "messages": messages})
    assert response.status_code == 200, response.text
    (sent,) = stand_in.bodies()[0]["messages"][-1:]
    data = b64encode(png()).decode()
    assert sent["content"][0]["image_url"]["url"] == f"data:image/png;base64,{data}"


@pytest.mark.parametrize("keeps", [lambda answer: answer, lambda answer: answer.model_dump()])
async def test_answer_that_is_sent_back_as_it_came_reaches_no_provider_with_the_agent_s_work(
    api: openai.AsyncOpenAI, stand_in: StandIn, keeps: Callable[[Any], Any]
) -> None:
    messages: list[Any] = [*ASK]
    answer = (
        (await api.chat.completions.create(model="agent", messages=messages)).choices[0].message
    )
    assert "reasoning_content" in answer.to_dict()
    messages += [keeps(answer), {"role": "user", "content": "Thanks"}]
    await api.chat.completions.create(model="agent", messages=messages)
    sent = stand_in.bodies()[-1]["messages"]
    assert sent[1:] == [
        *ASK,
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": "Thanks"},
    ]


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize("role", ["evil", "", None, 1, ["user"]])
async def test_role_that_is_none_is_refused_by_the_name_of_its_field(
    client: httpx2.AsyncClient, stand_in: StandIn, path: str, role: Any
) -> None:
    field = "messages" if path == CHAT else "input"
    body = {"model": "agent", field: [*ASK, {"role": role, "content": "x"}]}
    response = await client.post(path, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == f"{field}.{len(ASK)}.role"
    assert stand_in.requests() == []


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (CHAT, "n", 2),
        (CHAT, "functions", [{"name": "f"}]),
        (CHAT, "tool_choice", "required"),
        (CHAT, "tool_choice", {"type": "allowed_tools"}),
        (CHAT, "logprobs", True),
        (CHAT, "stop", ["x"]),
        (CHAT, "response_format", {"type": "json_object"}),
        (CHAT, "temperature", 7),
        (CHAT, "messages", []),
        (RESPONSES, "tool_choice", {"type": "web_search"}),
        (RESPONSES, "prompt", {"id": "pmpt_1"}),
        (RESPONSES, "previous_response_id", "resp_1"),
        (RESPONSES, "background", True),
        (RESPONSES, "input", 7),
    ],
)
async def test_what_the_agent_does_not_have_is_refused(
    client: httpx2.AsyncClient, stand_in: StandIn, path: str, field: str, value: Any
) -> None:
    body = {"model": "agent", "messages": ASK} if path == CHAT else {"model": "agent", "input": "x"}
    response = await client.post(path, json={**body, field: value})
    error = error_of(response)
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["param"] == field
    assert stand_in.requests() == []


async def test_values_that_change_nothing_are_taken(client: httpx2.AsyncClient) -> None:
    plain = {"n": 1, "tools": [], "top_p": 1.0, "user": "x", "presence_penalty": 0, "stop": None}
    response = await client.post(CHAT, json={"model": "agent", "messages": ASK, **plain})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_failure_in_a_stream_is_an_error_without_a_proper_end(
    client: httpx2.AsyncClient, stand_in: StandIn, path: str
) -> None:
    stand_in.fault(cut="connection")
    body = {"messages": ASK} if path == CHAT else {"input": "Hello"}
    response = await client.post(path, json={"model": "agent", "stream": True, **body})
    assert response.status_code == 200
    last = json.loads(response.content.rpartition(b"data: ")[2])
    assert last["error"]["type"] == "server_error"
    assert b"[DONE]" not in response.content


async def test_failure_before_the_answer_is_its_status(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(status=400, message="bad prompt")
    response = await client.post(CHAT, json={"model": "agent", "messages": ASK})
    assert (response.status_code, error_of(response)["code"]) == (400, "provider_rejected")


async def test_agent_is_listed_for_those_who_may_use_it(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    keys = {
        "chats": {"sha256": digest("k-chats"), "scopes": ["openai", "chat"]},
        "plain": {"sha256": digest("k-plain"), "scopes": ["openai"]},
        "other": {"sha256": digest("k-other"), "models": ["else-*"]},
    }
    client = make_client(environment | {"API_KEYS": json.dumps(keys)}, {})
    seen = {}
    for name in keys:
        headers = {"Authorization": f"Bearer k-{name}"}
        listed = (await client.get("/v1/models", headers=headers)).json()["data"]
        one = await client.get("/v1/models/agent", headers=headers)
        asked = await client.post(CHAT, json={"model": "agent", "messages": ASK}, headers=headers)
        is_listed = "agent" in [row["id"] for row in listed]
        seen[name] = (is_listed, one.status_code, asked.status_code)
    assert seen == {
        "chats": (True, 200, 200),
        "plain": (False, 404, 403),
        "other": (False, 404, 403),
    }


async def test_agent_s_repeat_gets_the_first_answer(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    headers = {"Idempotency-Key": "k"}
    body = {"model": "agent", "messages": ASK}
    first = await client.post(CHAT, json=body, headers=headers)
    paid = len(stand_in.requests())
    again = await client.post(CHAT, json=body, headers=headers)
    texts = [each.json()["choices"][0]["message"]["content"] for each in (first, again)]
    assert texts[0] == texts[1]
    streamed = await client.post(CHAT, json={**body, "stream": True}, headers=headers)
    assert json.dumps(texts[0])[1:-1].encode() in streamed.content
    assert len(stand_in.requests()) == paid
