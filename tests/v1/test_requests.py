"""Fields of requests under /v1, which nobody rewrites: those of today, and those to come."""

import json
from typing import Any

import httpx2
import pytest

from tests.v1.conftest import Provider
from tests.v1.test_bytes import CHAT, CREATED, DELTA, DONE, FINISH, RESPONSE, TEXT, event
from tests.v1.test_errors import error_of
from tests.v1.upstream import EVENT_STREAM, Answer

JSON = {"Content-Type": "application/json"}
RESPONSES = "/v1/responses"

FIELDS: dict[str, Any] = {
    "n": 3,
    "seed": 2**63 - 1,
    "stop": ["\n\n", "\u2028", "END"],
    "logprobs": True,
    "top_logprobs": 20,
    "logit_bias": {"50256": -100},
    "max_tokens": 5,
    "max_completion_tokens": 7,
    "temperature": 1.0,
    "frequency_penalty": -2.0,
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True}},
    "reasoning_effort": "xhigh",
    "verbosity": None,
    "user": "",
    "metadata": {},
    "x_new": {"deep": [[None, 1.5, "h\u00e9", "\U0001f600"]]},
}
COMPLETED = b"event: response.completed\n" + event(
    {"type": "response.completed", "sequence_number": 2, "response": RESPONSE}
)
CODEX: dict[str, Any] = {
    "model": "m",
    "instructions": "You are Codex. " * 1500,
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
        {"type": "function_call", "name": "shell", "arguments": "{}", "call_id": "call_1"},
        {"type": "function_call_output", "call_id": "call_1", "output": "ok"},
        {"type": "of_tomorrow", "payload": [1]},
    ],
    "tools": [
        {"type": "function", "name": "shell", "strict": False, "parameters": {"type": "object"}},
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark"}},
        {"type": "web_search", "external_web_access": False},
        {"type": "tool_search", "execution": "client"},
        {"type": "namespace", "name": "mcp__docs", "tools": [{"type": "function", "name": "find"}]},
        {"type": "of_tomorrow", "x": {"y": 1}},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0198",
    "client_metadata": {"x-codex-installation-id": "1"},
}
"""A request with the twelve fields of Codex, as version 0.145 sends them."""


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_field_of_a_chat_goes_on_untouched(
    gateway: httpx2.AsyncClient, provider: Provider, name: str, is_streamed: bool
) -> None:
    provider.upstream.answer = Answer([TEXT, FINISH, DONE], EVENT_STREAM)
    body = {"messages": [], "model": "m", name: FIELDS[name], "stream": is_streamed}
    await gateway.post(CHAT, json=body)
    (seen,) = provider.upstream.seen
    sent = json.loads(seen.body)
    assert sent.pop("stream_options", None) == ({"include_usage": True} if is_streamed else None)
    assert (sent, list(sent)) == (body, list(body))
    assert json.dumps(sent[name]) == json.dumps(FIELDS[name])


async def test_all_fields_of_a_chat_go_on_as_the_bytes_that_came(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    content = json.dumps({"model": "m", "messages": [], **FIELDS}, indent=3).encode()
    await gateway.post(CHAT, content=content, headers=JSON)
    (seen,) = provider.upstream.seen
    assert seen.body == content


async def test_request_of_codex_goes_on_as_the_bytes_that_came(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    provider.upstream.answer = Answer([CREATED, DELTA, COMPLETED], EVENT_STREAM)
    content = json.dumps(CODEX).encode()
    headers = {**JSON, "session-id": "0198", "thread-id": "0198", "originator": "codex_cli_rs"}
    response = await gateway.post(RESPONSES, content=content, headers=headers)
    assert (response.status_code, response.content) == (200, CREATED + DELTA + COMPLETED)
    (seen,) = provider.upstream.seen
    assert (seen.path, seen.body) == (RESPONSES, content)


@pytest.mark.parametrize("store", [True, None])
async def test_response_that_was_to_be_stored_is_not(
    gateway: httpx2.AsyncClient, provider: Provider, store: bool | None
) -> None:
    await gateway.post(RESPONSES, json={"store": store, "model": "m", "input": "x"})
    (seen,) = provider.upstream.seen
    assert json.loads(seen.body) == {"store": False, "model": "m", "input": "x"}


SPOKEN = [
    event({"type": "transcript.text.delta", "delta": "h\u00e9"}),
    event({"type": "transcript.text.delta", "delta": "llo", "logprobs": []}),
    event(
        {
            "type": "transcript.text.done",
            "text": "h\u00e9llo",
            "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 9},
        }
    ),
]


async def test_streamed_transcription_comes_as_the_provider_s_events(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    provider.upstream.answer = Answer(SPOKEN, EVENT_STREAM)
    form = {"model": "m", "stream": "true", "include[]": "logprobs", "response_format": "json"}
    request = gateway.build_request(
        "POST",
        "/v1/audio/transcriptions",
        data=form,
        files={"file": ("a.mp3", b"ID3", "audio/mpeg")},
    )
    sent = await request.aread()
    response = await gateway.send(request)
    assert response.content == b"".join(SPOKEN)
    assert response.headers["content-type"].startswith(EVENT_STREAM)
    assert provider.upstream.seen[0].body == sent
    (record,) = (await gateway.get("/usage/records")).json()["records"]
    assert (record["input_tokens"], record["output_tokens"]) == (14, 9)


async def test_transcription_whose_stream_is_cut_ends_with_an_error(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    provider.upstream.answer = Answer(SPOKEN[:2], EVENT_STREAM)
    response = await gateway.post(
        "/v1/audio/transcriptions",
        data={"model": "m", "stream": "true"},
        files={"file": ("a.mp3", b"ID3", "audio/mpeg")},
    )
    error = response.content.removeprefix(b"".join(SPOKEN[:2]))
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "provider_truncated"


@pytest.mark.parametrize("response_format", ["text", "srt", "vtt"])
async def test_transcription_as_text_keeps_its_media_type(
    gateway: httpx2.AsyncClient, provider: Provider, response_format: str
) -> None:
    provider.upstream.answer = Answer([b"1\n00:00:00,000 --> 00:00:01,000\nHi\n"], "text/plain")
    response = await gateway.post(
        "/v1/audio/transcriptions",
        data={"model": "m", "response_format": response_format},
        files={"file": ("a.mp3", b"ID3", "audio/mpeg")},
    )
    assert response.content == provider.upstream.answer.pieces[0]
    assert response.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["responses", "embeddings", "moderations"])
async def test_provider_without_the_route_is_told_as_not_found(
    gateway: httpx2.AsyncClient, provider: Provider, path: str
) -> None:
    provider.upstream.answer = Answer([b"<h1>404</h1>"], "text/html", 404)
    response = await gateway.post(f"/v1/{path}", json={"model": "m", "input": "x"})
    error = error_of(response)
    assert (response.status_code, error["type"]) == (404, "invalid_request_error")
    assert "the route" in error["message"]
