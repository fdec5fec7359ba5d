"""A provider that fails in each way that the network allows, before and after the first byte."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import AUTH, MakeClient, ThreadServer
from tests.integration.faults import RESET, Faulty
from tests.v1.test_bytes import CHAT, DONE, FINISH, TEXT

JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
EVENTS_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


BEFORE = {
    "closed without an answer": b"",
    "reset without an answer": RESET,
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "closed in the headers": b"HTTP/1.1 200 OK\r\ncontent-ty",
    "reset in the headers": b"HTTP/1.1 200 OK\r\ncontent-ty" + RESET,
    "failure with a broken body": b"HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\n{",
    "gateway's page": b"HTTP/1.1 502 Bad\r\ncontent-length: 6\r\n\r\n<html>",
    "overloaded": b"HTTP/1.1 529 Overloaded\r\ncontent-length: 0\r\n\r\n",
    "status that HTTP does not have": b"HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n",
    "redirect": b"HTTP/1.1 307 No\r\nlocation: https://else.example/\r\ncontent-length: 0\r\n\r\n",
    "JSON that is cut": JSON_HEAD + b"content-length: 100\r\n\r\n" + b'{"id": ',
    "JSON that is reset": JSON_HEAD + b"content-length: 100\r\n\r\n" + b'{"id": ' + RESET,
    "JSON in chunks that are cut": JSON_HEAD + CHUNKED + chunk(b'{"id": ') + b"50\r\nabc",
    "no JSON": JSON_HEAD + b"content-length: 5\r\n\r\n<html",
    "empty JSON": JSON_HEAD + b"content-length: 0\r\n\r\n",
    "header without an end": b"HTTP/1.1 200 OK\r\nx-long: " + b"y" * 100_000,
    "two lengths": JSON_HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "failure that is reset": b"HTTP/1.1 503 No\r\ncontent-length: 100\r\n\r\n{" + RESET,
    "endless failure": b"HTTP/1.1 500 No\r\n\r\n" + b"x" * 100_000,
    "no such encoding": JSON_HEAD + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
}
"""Faults of which nothing has been sent on: they are told by the status."""

BEGUN = EVENTS_HEAD + CHUNKED + chunk(TEXT)
AFTER = {
    "closed in the middle": (BEGUN, b""),
    "reset in the middle": (BEGUN, RESET),
    "closed in an event": (BEGUN, chunk(b'data: {"id"')),
    "closed in a chunk": (BEGUN, chunk(TEXT)[:-20]),
    "proper end of a stream without an end": (BEGUN, b"0\r\n\r\n"),
    "shorter than said": (EVENTS_HEAD + b"content-length: 9999\r\n\r\n" + TEXT, b""),
    "shorter than said, and reset": (
        EVENTS_HEAD + b"content-length: 9999\r\n\r\n" + TEXT,
        RESET,
    ),
    "no length and no end": (EVENTS_HEAD + b"connection: close\r\n\r\n" + TEXT, b""),
    "no chunk": (BEGUN, b"zz\r\n"),
    "no chunk in a chunk": (BEGUN, chunk(TEXT)[:-1] + b"zz\r\n"),
}
"""Faults of a stream that has begun, and what comes before: told by an event, without a proper end."""


@pytest.fixture
async def faulty() -> AsyncIterator[tuple[Faulty, str]]:
    """The server and its base URL."""
    upstream = Faulty()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield upstream, f"http://127.0.0.1:{port}/v1"
        upstream.go_on.set()


@pytest.fixture
def ask(
    make_client: MakeClient, environment: dict[str, str], faulty: tuple[Faulty, str]
) -> Callable[[], AsyncIterator[httpx2.Response]]:
    client = make_client(environment | {"OPENAI_BASE_URL": faulty[1]})

    async def answers() -> AsyncIterator[httpx2.Response]:
        for stream in (False, True):
            yield await client.post(CHAT, json={"model": "m", "messages": [], "stream": stream})

    return answers


@pytest.mark.parametrize("fault", BEFORE.values(), ids=BEFORE.keys())
async def test_fault_before_the_first_byte_is_told_by_the_status(
    ask: Callable[[], AsyncIterator[httpx2.Response]], faulty: tuple[Faulty, str], fault: bytes
) -> None:
    faulty[0].answer = fault
    async for response in ask():
        assert response.status_code in (500, 502, 529)
        error = response.json()["error"]
        assert (error["type"], list(response.json())) == ("server_error", ["error"])
        assert error["code"] != "internal_error"
    # The caller's client retries, and knows what may be sent twice.
    assert faulty[0].count == 2


@pytest.mark.parametrize(("begun", "fault"), AFTER.values(), ids=AFTER.keys())
async def test_fault_in_a_stream_is_told_by_its_last_event(
    ask: Callable[[], AsyncIterator[httpx2.Response]],
    faulty: tuple[Faulty, str],
    begun: bytes,
    fault: bytes,
) -> None:
    faulty[0].answer = begun + fault
    async for response in ask():
        assert response.status_code == 200
        # What came before it is not lost.
        assert response.content.startswith(TEXT)
        last = json.loads(response.content.rpartition(b"data: ")[2])
        assert last["error"]["code"] == "provider_truncated"
        assert b"[DONE]" not in response.content
    assert faulty[0].count == 2


@pytest.mark.parametrize(("begun", "fault"), AFTER.values(), ids=AFTER.keys())
async def test_fault_after_the_first_event_is_told_by_the_last_one(
    environment: dict[str, str], faulty: tuple[Faulty, str], begun: bytes, fault: bytes
) -> None:
    upstream, base_url = faulty
    upstream.answer, upstream.rest = begun, fault or b" "
    got = b""
    with ThreadServer(
        create_app(load_settings(environment | {"OPENAI_BASE_URL": base_url}))
    ) as app:
        async with (
            httpx2.AsyncClient(base_url=app.origin, headers=AUTH, timeout=60) as http,
            http.stream(
                "POST", CHAT, json={"model": "m", "messages": [], "stream": True}
            ) as stream,
        ):
            assert stream.status_code == 200
            async for piece in stream.aiter_raw():
                got += piece
                upstream.go_on.set()
    assert got.startswith(TEXT)
    assert json.loads(got.rpartition(b"data: ")[2])["error"]["code"] == "provider_truncated"
    assert b"[DONE]" not in got


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_endless_answer_ends_with_the_deadline(
    make_client: MakeClient,
    environment: dict[str, str],
    faulty: tuple[Faulty, str],
    is_streamed: bool,
) -> None:
    upstream, base_url = faulty
    upstream.answer = JSON_HEAD + CHUNKED + chunk(b'{"id": ')
    if is_streamed:
        upstream.answer = BEGUN
    # Nothing more comes, and the connection stays.
    upstream.rest = b" "
    settings = environment | {"OPENAI_BASE_URL": base_url, "REQUEST_DEADLINE_SECONDS": "2"}
    body = {"model": "m", "messages": [], "stream": is_streamed}
    response = await make_client(settings).post(CHAT, json=body)
    assert response.status_code == (200 if is_streamed else 504)
    last = response.content.rpartition(b"data: ")[2]
    assert json.loads(last)["error"]["code"] == "deadline_exceeded"
    upstream.go_on.set()


@pytest.mark.parametrize("answer", [b'{"error": {"message": "x"}}', b'{"choices": null}'])
async def test_odd_json_with_a_good_status_comes_as_it_is(
    ask: Callable[[], AsyncIterator[httpx2.Response]], faulty: tuple[Faulty, str], answer: bytes
) -> None:
    faulty[0].answer = JSON_HEAD + b"content-length: %d\r\n\r\n" % len(answer) + answer
    async for response in ask():
        assert (response.status_code, response.content) == (200, answer)


async def test_host_that_speaks_no_tls_is_told(
    make_client: MakeClient, environment: dict[str, str], faulty: tuple[Faulty, str]
) -> None:
    base_url = faulty[1].replace("http:", "https:")
    client = make_client(environment | {"OPENAI_BASE_URL": base_url})
    response = await client.post(CHAT, json={"model": "m", "messages": []})
    assert (response.status_code, response.json()["error"]["code"]) == (502, "provider_unavailable")
    assert "cannot be reached" in response.json()["error"]["message"]


async def test_server_of_the_faults_can_answer_well(
    ask: Callable[[], AsyncIterator[httpx2.Response]], faulty: tuple[Faulty, str]
) -> None:
    faulty[0].answer = EVENTS_HEAD + CHUNKED + chunk(TEXT + FINISH + DONE) + b"0\r\n\r\n"
    async for response in ask():
        assert response.content == TEXT + FINISH + DONE
