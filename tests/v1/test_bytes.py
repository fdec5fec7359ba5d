"""What arrives goes on, and what comes back goes on: byte for byte."""

import json
from typing import Any

import httpx2
import pytest

from tests.v1.conftest import Provider
from tests.v1.upstream import EVENT_STREAM, Answer

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
PLAIN = b'{"model": "m", "messages": [{"role":"user","content":"h\\u00e9"}], "x_new": [1.0, 1e3]}'


def event(data: object) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return f"data: {text}\n\n".encode()


def chunk(**fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", **fields}


def choice(delta: dict[str, Any], finish_reason: str | None = None) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "finish_reason": finish_reason}]


TEXT = event(chunk(choices=choice({"role": "assistant", "content": "h\u00e9llo"})))
TOOLS = event(
    chunk(choices=choice({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}))
)
REASONING = event(chunk(choices=choice({"reasoning_content": "hm", "reasoning": {"x": [1]}})))
REFUSAL = event(chunk(choices=choice({"refusal": "no"})))
UNKNOWN = b'event: x\nid: 7\nretry: 10\ndata: {"brand": "new",\ndata: "usage": null}\n\n'
COMMENT = b": OPENROUTER PROCESSING\n\n"
FINISH = event(chunk(choices=choice({}, "stop")))
FINISH_WITH_USAGE = event(chunk(choices=choice({}, "stop"), usage={"prompt_tokens": 1}))
USAGE = event(chunk(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4}))
FILTERS = event(chunk(choices=[], prompt_filter_results=[{"prompt_index": 0}], usage=None))
DONE = event("[DONE]")
CRLF = TEXT.replace(b"\n", b"\r\n") + FINISH.replace(b"\n", b"\r\n") + DONE.replace(b"\n", b"\r\n")

STREAMS = {
    "text": [TEXT, FINISH, DONE],
    "tools": [TOOLS, FINISH, DONE],
    "reasoning": [REASONING, TEXT, FINISH, DONE],
    "refusal": [REFUSAL, FINISH, DONE],
    "unknown events and comments": [COMMENT, UNKNOWN, TEXT, FINISH, DONE],
    "filter results first": [FILTERS, TEXT, FINISH, DONE],
    "usage beside the end": [TEXT, FINISH_WITH_USAGE, DONE],
    "carriage returns": [CRLF],
    "no mark at the end": [TEXT, FINISH],
    "one byte at a time": [bytes([each]) for each in TEXT + TOOLS + FINISH + DONE],
    "all at once": [TEXT + TOOLS + FINISH + DONE, b""],
    "no line end at the end": [TEXT, FINISH, DONE.rstrip()],
}


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":"x","choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":1}}',
        b'{ "spaced" : [ 1.0, 1e400, "\\ud83d\\ude00", "\xc3\xa9" ], "model":"m" }\n',
        b"[1, 2]",
    ],
)
async def test_json_answer_is_the_provider_s_bytes(
    gateway: httpx2.AsyncClient, provider: Provider, body: bytes
) -> None:
    provider.upstream.answer = Answer([body], headers={"openai-processing-ms": "17"})
    response = await gateway.post(CHAT, content=PLAIN, headers=JSON)
    assert (response.status_code, response.content) == (200, body)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["openai-processing-ms"] == "17"
    assert response.headers["x-request-id"]


async def test_json_request_goes_on_as_it_came(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    await gateway.post(CHAT, content=PLAIN, headers=JSON)
    (seen,) = provider.upstream.seen
    assert (seen.method, seen.path, seen.body) == ("POST", CHAT, PLAIN)
    assert seen.headers["authorization"] == "Bearer sk-test"
    assert seen.headers["accept-encoding"] == "identity"
    assert "x-request-id" not in seen.headers


@pytest.mark.parametrize("pieces", STREAMS.values(), ids=STREAMS.keys())
async def test_stream_is_the_provider_s_bytes(
    gateway: httpx2.AsyncClient, provider: Provider, pieces: list[bytes]
) -> None:
    provider.upstream.answer = Answer(pieces, EVENT_STREAM)
    body = {"model": "m", "stream": True, "messages": []}
    response = await gateway.post(CHAT, json=body)
    assert response.content == b"".join(pieces)
    assert response.headers["content-type"].startswith(EVENT_STREAM)


async def test_usage_of_a_stream_is_always_asked_for_and_told_where_the_caller_asks(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    provider.upstream.answer = Answer([TEXT, FINISH, USAGE, DONE], EVENT_STREAM)
    body = {"model": "m", "stream": True, "messages": []}
    response = await gateway.post(CHAT, json=body)
    assert response.content == TEXT + FINISH + DONE
    told = await gateway.post(CHAT, json={**body, "stream_options": {"include_usage": True}})
    assert told.content == TEXT + FINISH + USAGE + DONE
    other = await gateway.post(
        CHAT, json={**body, "stream_options": {"include_obfuscation": False}}
    )
    assert other.content == TEXT + FINISH + DONE
    options = [json.loads(seen.body)["stream_options"] for seen in provider.upstream.seen]
    asked = {"include_usage": True}
    assert options == [asked, asked, {"include_obfuscation": False, **asked}]


@pytest.mark.parametrize("breaks", [True, False])
async def test_stream_that_is_cut_ends_with_an_error_and_without_done(
    gateway: httpx2.AsyncClient, provider: Provider, breaks: bool
) -> None:
    provider.upstream.answer = Answer([TEXT, TOOLS], EVENT_STREAM, breaks=breaks)
    response = await gateway.post(CHAT, json={"model": "m", "stream": True, "messages": []})
    assert response.content.startswith(TEXT + TOOLS)
    error = response.content.removeprefix(TEXT + TOOLS).removeprefix(b"data: ")
    assert json.loads(error) == {
        "error": {
            "message": "The provider's answer ended before it was complete. Try again.",
            "type": "server_error",
            "param": None,
            "code": "provider_truncated",
        }
    }


async def test_error_of_the_provider_in_a_stream_is_its_end(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    error = event({"error": {"message": "overloaded", "type": "server_error"}})
    provider.upstream.answer = Answer([TEXT, error], EVENT_STREAM)
    response = await gateway.post(CHAT, json={"model": "m", "stream": True, "messages": []})
    assert response.content == TEXT + error


RESPONSE = {"id": "resp_1", "object": "response", "model": "m", "usage": {"input_tokens": 2}}
CREATED = b"event: response.created\n" + event(
    {"type": "response.created", "sequence_number": 0, "response": RESPONSE | {"usage": None}}
)
DELTA = b"event: response.output_text.delta\n" + event(
    {"type": "response.output_text.delta", "sequence_number": 1, "delta": "h\u00e9"}
)


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
async def test_response_is_complete_with_each_of_its_last_events(
    gateway: httpx2.AsyncClient, provider: Provider, kind: str
) -> None:
    last = event({"type": f"response.{kind}", "sequence_number": 2, "response": RESPONSE})
    last = f"event: response.{kind}\n".encode() + last
    provider.upstream.answer = Answer([CREATED, DELTA, last], EVENT_STREAM)
    response = await gateway.post(
        "/v1/responses", json={"model": "m", "input": "x", "stream": True}
    )
    assert response.content == CREATED + DELTA + last


async def test_response_without_a_last_event_is_cut(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    provider.upstream.answer = Answer([CREATED, DELTA], EVENT_STREAM)
    response = await gateway.post(
        "/v1/responses", json={"model": "m", "input": "x", "stream": True}
    )
    name, _, data = response.content.removeprefix(CREATED + DELTA).partition(b"\ndata: ")
    error = {
        "message": "The provider's answer ended before it was complete. Try again.",
        "type": "server_error",
        "param": None,
        "code": "provider_truncated",
    }
    assert name == b"event: error"
    assert json.loads(data) == {
        "type": "error",
        "sequence_number": 2,
        "code": error["code"],
        "message": error["message"],
        "param": None,
        "error": error,
    }


async def test_binary_answer_is_the_provider_s_bytes(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    pieces = [b"\x00\x01data: x\n\n", b"\xff" * 70_000, b"usage"]
    provider.upstream.answer = Answer(pieces, "audio/mpeg")
    response = await gateway.post("/v1/audio/speech", json={"model": "m", "input": "x"})
    assert response.content == b"".join(pieces)
    assert response.headers["content-type"] == "audio/mpeg"


async def test_form_goes_on_as_it_came(gateway: httpx2.AsyncClient, provider: Provider) -> None:
    files = [
        ("image[]", ("a.png", b"\x89PNG\r\n\r\n--x", "image/png")),
        ("image[]", ("b.png", b"second", "image/png")),
    ]
    request = gateway.build_request(
        "POST", "/v1/images/edits", data={"model": "m", "prompt": "h\u00e9"}, files=files
    )
    sent = await request.aread()
    await gateway.send(request)
    (seen,) = provider.upstream.seen
    assert seen.body == sent
    assert seen.headers["content-type"] == request.headers["content-type"]
