"""Answers of a provider that break after they have begun, or are none of HTTP: the SDK's calls of it."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from shared.openai_service.client import MAX_ATTEMPTS
from shared.openai_service.forwarded_answer import MAX_ANSWER_BYTES
from shared.timing import Timing
from tests.conftest import MakeClient
from tests.integration.faults import RESET, Faulty

DOORS = {
    "/tools/chat_completion": {"prompt": "hi"},
    "/chat": {"message": "hi"},
    "/tools/generate_image": {"prompt": "hi"},
}
EVENTS_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"

MALFORMED = {
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "two lengths": JSON_HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "length of too many digits": JSON_HEAD + b"content-length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "negative length": JSON_HEAD + b"content-length: -5\r\n\r\n{}",
    "header without an end": b"HTTP/1.1 200 OK\r\nx-long: " + b"y" * 200_000,
    "protocol that nobody asked for": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n",
    "status below all": b"HTTP/1.1 099 X\r\ncontent-length: 0\r\n\r\n",
}
BROKEN = {
    "closed": JSON_HEAD + b"content-length: 100\r\n\r\n" + b'{"id": ',
    "reset": JSON_HEAD + b"content-length: 100\r\n\r\n" + b'{"id": ' + RESET,
    "no chunk": JSON_HEAD + CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "no such encoding": JSON_HEAD + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
}
BEFORE = {"closed": b"", "reset": RESET}


@pytest.fixture
def timing() -> Timing:
    return Timing(provider_backoff=0.001)


@pytest.fixture
async def faulty() -> AsyncIterator[tuple[Faulty, str]]:
    """The provider and its base URL."""
    upstream = Faulty()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield upstream, f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def gateway(
    make_client: MakeClient, environment: dict[str, str], faulty: tuple[Faulty, str]
) -> httpx2.AsyncClient:
    return make_client(environment | {"OPENAI_BASE_URL": faulty[1]})


def whole(body: bytes, head: bytes = JSON_HEAD) -> bytes:
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_answer_is_told_and_not_asked_for_again(
    gateway: httpx2.AsyncClient, faulty: tuple[Faulty, str], door: str, answer: bytes
) -> None:
    faulty[0].answer = answer
    response = await gateway.post(door, json=DOORS[door])
    assert (response.status_code, response.json()["code"]) == (502, "provider_unavailable")
    assert "malformed" in response.json()["detail"]
    assert faulty[0].count == 1


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
async def test_answer_that_breaks_after_its_head_is_truncated_and_not_asked_for_again(
    gateway: httpx2.AsyncClient, faulty: tuple[Faulty, str], door: str, answer: bytes
) -> None:
    faulty[0].answer = answer
    response = await gateway.post(door, json=DOORS[door])
    assert (response.status_code, response.json()["code"]) == (502, "provider_truncated")
    assert faulty[0].count == 1


@pytest.mark.parametrize("answer", BEFORE.values(), ids=BEFORE.keys())
async def test_connection_that_ends_before_an_answer_is_tried_again_where_no_medium_is_ordered(
    gateway: httpx2.AsyncClient, faulty: tuple[Faulty, str], answer: bytes
) -> None:
    faulty[0].answer = answer
    for door, body in DOORS.items():
        faulty[0].count = 0
        response = await gateway.post(door, json=body)
        assert "dropped the connection" in response.json()["detail"]
        assert faulty[0].count == (1 if "image" in door else MAX_ATTEMPTS)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("status", [302, 304, 307, 308])
async def test_redirect_is_not_followed(
    gateway: httpx2.AsyncClient, faulty: tuple[Faulty, str], door: str, status: int
) -> None:
    head = b"HTTP/1.1 %d Go\r\nlocation: %s/stolen\r\n" % (status, faulty[1].encode())
    faulty[0].answer = whole(b"", head)
    response = await gateway.post(door, json=DOORS[door])
    assert (response.status_code, response.json()["code"]) == (502, "provider_unavailable")
    assert "sent a redirect" in response.json()["detail"]
    assert faulty[0].count == 1


@pytest.mark.parametrize("door", ["/tools/chat_completion", "/tools/generate_image"])
@pytest.mark.parametrize("body", [b"[" * 100_000, b"1" * 5000], ids=["levels", "digits"])
async def test_json_that_python_does_not_read_is_not_valid(
    gateway: httpx2.AsyncClient, faulty: tuple[Faulty, str], door: str, body: bytes
) -> None:
    faulty[0].answer = whole(body)
    response = await gateway.post(door, json=DOORS[door])
    assert (response.status_code, response.json()["code"]) == (502, "provider_unavailable")
    assert "not valid JSON" in response.json()["detail"]


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """One byte more than may be held in memory, in a thousandth of the bytes."""
    return gzip.compress(b" " * (MAX_ANSWER_BYTES + 1))


@pytest.mark.parametrize("door", ["/tools/chat_completion", "/tools/generate_image"])
@pytest.mark.parametrize("status", [200, 500])
async def test_answer_that_is_held_in_memory_is_bounded(
    gateway: httpx2.AsyncClient, faulty: tuple[Faulty, str], bomb: bytes, door: str, status: int
) -> None:
    head = JSON_HEAD.replace(b"200", b"%d" % status) + b"content-encoding: gzip\r\n"
    faulty[0].answer = whole(bomb, head)
    response = await gateway.post(door, json=DOORS[door])
    assert (response.status_code, response.json()["code"]) == (502, "provider_unavailable")
    assert f"more than {MAX_ANSWER_BYTES} bytes" in response.json()["detail"]
    assert faulty[0].count == 1


ODD = {
    "text": {"content": float("nan")},
    "text in parts": {"content": [{"type": "text", "text": "hello"}]},
    "refusal": {"refusal": 5},
    "calls": {"tool_calls": 5},
    "name of a call": {"tool_calls": [{"index": 0, "function": {"name": 5}}]},
    "arguments": {"tool_calls": [{"index": 0, "function": {"name": "x", "arguments": {"a": 1}}}]},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
async def test_answer_that_holds_something_else_where_text_belongs_is_no_completion(
    gateway: httpx2.AsyncClient, faulty: tuple[Faulty, str], odd: dict[str, Any]
) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": odd, "delta": odd}
    data = json.dumps({"choices": [choice]}).encode()
    faulty[0].answer = whole(data)
    whole_answer = await gateway.post("/tools/chat_completion", json={"prompt": "hi"})
    faulty[0].answer = whole(b"data: " + data + b"\n\n", EVENTS_HEAD)
    streamed = await gateway.post("/chat", json={"message": "hi"})
    for response in (whole_answer, streamed):
        assert (response.status_code, response.json()["code"]) == (502, "provider_unavailable")
        assert "not a chat completion" in response.json()["detail"]


async def test_encoded_answer_is_decoded_once(
    gateway: httpx2.AsyncClient, faulty: tuple[Faulty, str]
) -> None:
    message = {"role": "assistant", "content": "hello"}
    answer: dict[str, Any] = {"choices": [{"finish_reason": "stop", "message": message}]}
    head = JSON_HEAD + b"content-encoding: gzip\r\n"
    faulty[0].answer = whole(gzip.compress(json.dumps(answer).encode()), head)
    response = await gateway.post("/tools/chat_completion", json={"prompt": "hi"})
    assert (response.status_code, response.json()["text"]) == (200, "hello")
