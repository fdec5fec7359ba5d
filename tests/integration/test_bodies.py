"""Bodies at every route: what is no JSON, how large they may be, and until when they must have come."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from shared.app import create_app
from shared.routes.body import MAX_BODY_BYTES, MAX_LONG_BODY_BYTES, held_limit
from shared.routes.v1.router import MAX_FORM_BYTES, MAX_JSON_BYTES
from shared.settings import SCOPES, load_settings
from shared.strict_json import MAX_DEPTH, MAX_KEYS, MAX_VALUES
from shared.timing import BODY_SECONDS, Timing
from tests.conftest import KEY, ThreadServer, digest
from tests.waiting import LIMIT_SECONDS, until

MEBIBYTE = 1024 * 1024

UPLOAD = "/media"
"""Takes bytes."""

FORMS = {"/v1/images/edits", "/v1/audio/transcriptions"}
"""Take forms."""

LONG = {
    "/chat",
    "/api/default/chat",
    "/tools/chat_completion",
    "/tools/generate",
    "/tools/default",
    "/mcp",
    "/mcp/call_tool",
}


def posts(app: FastAPI) -> list[str]:
    """Paths of all routes that take a body."""
    found = [
        (each.path or "")
        .replace("{user_id}", "default")
        .replace("{name}", "default")
        .replace("{path:path}", "unknown")
        for each in iter_route_contexts(app.routes)
        if "POST" in (each.methods or ())
    ]
    assert {*LONG, UPLOAD, "/tools/server_time", "/mcp/connect"} <= {*found}
    return found


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """With a key that every route lets in."""
    keys = {"default": {"sha256": digest(KEY), "scopes": list(SCOPES)}}
    return environment | {"API_KEYS": json.dumps(keys)}


@pytest.fixture
def paths(environment: dict[str, str]) -> list[str]:
    """All routes that take JSON."""
    app = create_app(load_settings(environment))
    return [path for path in posts(app) if path not in {UPLOAD, *FORMS}]


def limit_of(path: str) -> int:
    """The maximum bytes of a route's body."""
    if path.startswith("/v1/"):
        return MAX_BODY_BYTES if path == "/v1/unknown" else MAX_JSON_BYTES
    return MAX_LONG_BODY_BYTES if path in LONG else MAX_BODY_BYTES


def complaint(response: httpx2.Response) -> tuple[int, Any, str]:
    """Status, code and sentence of an error, in the shape of each protocol."""
    return complaint_of((response.status_code, response.json()))


def complaint_of(answer: tuple[int, dict[str, Any]]) -> tuple[int, Any, str]:
    """The same of a status and a body."""
    status, body = answer
    if "error" in body:
        return status, body["error"]["code"], body["error"]["message"]
    return status, body["code"], body["detail"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"message": NaN}',
        b'{"client_id": "a", "tool_name": "b", "arguments": {"a": -Infinity}}',
        b'{"message": "\\ud800"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "\\udfff"}}',
        '{"message": "hi"}'.encode("utf-16"),
        '{"message": "hi"}'.encode("utf-32-le"),
    ],
    ids=["NaN", "infinity", "half a character", "half a character inside", "UTF-16", "UTF-32"],
)
@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; Charset=utf-8"])
async def test_no_route_takes_what_only_python_calls_json(
    client: httpx2.AsyncClient, paths: list[str], content: bytes, content_type: str
) -> None:
    for path in paths:
        headers = {"Content-Type": content_type, "Accept": "application/json, text/event-stream"}
        response = await client.post(path, content=content, headers=headers)
        code = -32700 if path == "/mcp" else "invalid_request"
        assert complaint(response) == (400, code, "The body is not valid JSON."), path


@pytest.mark.parametrize(
    ("document", "limit"),
    [
        ({str(number): 0 for number in range(MAX_KEYS + 1)}, MAX_KEYS),
        ({"a": [[{str(number): 0 for number in range(MAX_KEYS + 1)}]]}, MAX_KEYS),
        (json.loads("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)), MAX_DEPTH),
        (json.loads("[" * 300 + "]" * 300), MAX_DEPTH),
        ({"a": [0] * MAX_VALUES}, MAX_VALUES),
    ],
    ids=["keys", "keys inside", "levels", "hundreds of levels", "values"],
)
async def test_no_route_takes_json_of_too_many_parts(
    client: httpx2.AsyncClient, paths: list[str], document: Any, limit: int
) -> None:
    for path in paths:
        response = await client.post(path, json=document)
        status, code, sentence = complaint(response)
        ours = (400 if path.startswith("/v1/") else 422, "invalid_request")
        assert (status, code) == ((400, -32600) if path == "/mcp" else ours)
        assert str(limit) in sentence


@pytest.mark.parametrize("path", ["/chat", "/tools/chat_completion", "/mcp"])
async def test_megabytes_of_unknown_keys_are_answered_in_one_sentence(
    client: httpx2.AsyncClient, path: str
) -> None:
    keys = ",".join(f'"k{number}":0' for number in range(320_000))
    content = f"{{{keys}}}".encode()
    assert 3_000_000 < len(content) < MAX_LONG_BODY_BYTES
    headers = {"Content-Type": "application/json"}
    response = await client.post(path, content=content, headers=headers)
    assert complaint(response)[2] == f"The JSON has more than {MAX_VALUES} values. Send fewer."
    assert len(response.content) < 300


async def test_of_many_complaints_the_first_are_told_and_the_others_counted(
    client: httpx2.AsyncClient,
) -> None:
    names = [f"{number:03}" + "x" * 300 for number in range(500)]
    response = await client.post("/tools/server_time", json=dict.fromkeys(names, 0))
    assert response.status_code == 422
    *told, last = response.json()["errors"]
    assert [each["loc"] for each in told] == [["body", f"{name[:64]}…"] for name in names[:20]]
    assert last["msg"] == "480 more errors are not listed"
    assert len(response.content) < 5000


async def test_complaint_does_not_repeat_a_long_name(client: httpx2.AsyncClient) -> None:
    body = {"message": "hi", "tools": ["x" * 30_000] * 100}
    response = await client.post("/chat", json=body)
    assert response.status_code == 422
    assert len(response.content) < 1500


async def test_parts_of_a_message_get_one_complaint(client: httpx2.AsyncClient) -> None:
    message = {"role": "user", "content": [0] * 50_000}
    response = await client.post("/tools/chat_completion", json={"messages": [message]})
    assert {tuple(each["loc"][:4]) for each in response.json()["errors"]} == {
        ("body", "messages", 0, "content")
    }
    assert len(response.json()["errors"]) == 2


async def test_arguments_at_mcp_get_as_few_complaints(client: httpx2.AsyncClient) -> None:
    arguments = {f"{number:03}" + "x" * 300: 0 for number in range(500)}
    params = {"name": "server_time", "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"Accept": "application/json, text/event-stream"}
    response = await client.post("/mcp", json=message, headers=headers)
    assert "480 more errors are not listed" in response.text
    assert len(response.content) < 5000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat", {"message": "hi", "conversation_id": "x" * 1_000_000}),
        ("/tools/complete_task", {"task_id": "x" * 100}),
        ("/mcp", {"method": "tools/call", "params": {"name": "x" * 1_000_000}}),
        ("/mcp", {"method": "resources/read", "params": {"uri": "media://" + "x" * 1_000_000}}),
        ("/mcp", {"method": "resources/read", "params": {"uri": "other:" + "x" * 1_000_000}}),
    ],
)
async def test_what_does_not_exist_is_named_in_short(
    client: httpx2.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    headers = {"Accept": "application/json, text/event-stream"}
    message = {"jsonrpc": "2.0", "id": 1, **body} if path == "/mcp" else body
    response = await client.post(path, json=message, headers=headers)
    assert "There is no" in response.text
    assert len(response.content) < 10_000


async def test_each_route_takes_as_much_as_its_work_needs(
    client: httpx2.AsyncClient, paths: list[str]
) -> None:
    assert {*LONG} <= {*paths}
    for path in paths:
        limit = limit_of(path)
        content = b'"' + b"x" * (limit - 2) + b'"'
        headers = {"Content-Type": "application/json"}
        fits = await client.post(path, content=content, headers=headers)
        assert fits.status_code in (400, 404, 406, 422), path
        over = await client.post(path, content=content + b" ", headers=headers)
        sentence = f"The request body may have at most {limit} bytes. Send less."
        assert complaint(over) == (413, "too_large", sentence), path


async def test_longest_prompt_for_a_picture_fits_with_its_escapes(
    client: httpx2.AsyncClient,
) -> None:
    content = json.dumps({"prompt": "\N{GRINNING FACE}" * 32_000, "n": 11}).encode()
    headers = {"Content-Type": "application/json"}
    response = await client.post("/tools/generate_image", content=content, headers=headers)
    assert [each["loc"] for each in response.json()["errors"]] == [["body", "n"]]


@pytest.fixture
def hasty_app(environment: dict[str, str]) -> FastAPI:
    return create_app(load_settings(environment | {"REQUEST_DEADLINE_SECONDS": "1"}))


@pytest.fixture
def hasty_origin(hasty_app: FastAPI) -> Iterator[str]:
    """Origin of an app with a short deadline, behind a real HTTP server."""
    with ThreadServer(hasty_app) as server:
        yield server.origin


@asynccontextmanager
async def half_a_body(
    origin: str,
    path: str,
    begin: bytes = b'{"message":',
    length: int = 1000,
    method: str = "POST",
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection over which the beginning of a body was sent."""
    target = urlsplit(origin)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    try:
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: app\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()
            + begin
        )
        yield reader, writer
    finally:
        writer.close()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    """The answer on a connection, which has a length."""
    async with asyncio.timeout(LIMIT_SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].splitlines()[0])
        return int(head.split()[1]), json.loads(await reader.readexactly(length))


async def answer_to_half_a_body(origin: str, path: str) -> tuple[int, dict[str, Any]]:
    """Sends the beginning of a body and no more of it, and returns the answer."""
    async with half_a_body(origin, path) as (reader, _):
        return await answer_of(reader)


async def test_body_that_does_not_come_in_time_is_not_waited_for(
    hasty_app: FastAPI, hasty_origin: str
) -> None:
    paths = posts(hasty_app)
    answers = await asyncio.gather(*(answer_to_half_a_body(hasty_origin, path) for path in paths))
    for path, (status, body) in zip(paths, answers, strict=True):
        assert (body.get("error") or body)["code"] == "deadline_exceeded", path
        assert status == (408 if path.startswith("/mcp/") else 504), path


async def test_body_that_stops_coming_is_answered_before_the_deadline(
    environment: dict[str, str],
) -> None:
    app = create_app(load_settings(environment), Timing(body=0.5))
    sentence = (
        "The request body is not complete, and nothing of it came for 0.5 seconds. "
        "Send the request again; if it has a Content-Length, check it against the body."
    )
    with ThreadServer(app) as server:
        paths = posts(app)
        answers = await asyncio.gather(
            *(answer_to_half_a_body(server.origin, each) for each in paths)
        )
        for path, answer in zip(paths, answers, strict=True):
            assert complaint_of(answer) == (408, "request_timeout", sentence), path
        async with half_a_body(server.origin, "/chat") as (reader, _):
            await answer_of(reader)
            # The connection ends.
            assert await reader.read() == b""


@pytest.mark.parametrize("kept", [0, 5_000_000], ids=["first bytes", "megabytes"])
async def test_upload_that_stops_coming_leaves_no_medium(
    stored_environment: dict[str, str], kept: int
) -> None:
    app = create_app(load_settings(stored_environment), Timing(body=0.5))
    begin = b"\x89PNG\r\n\x1a\n" + bytes(kept)
    with ThreadServer(app) as server:
        async with half_a_body(server.origin, UPLOAD, begin, 20_000_000) as (reader, _):
            assert complaint_of(await answer_of(reader))[:2] == (408, "request_timeout")
        async with httpx2.AsyncClient(base_url=server.origin) as client:
            listed = await client.get(UPLOAD, headers={"Authorization": f"Bearer {KEY}"})
    assert listed.json()["media"] == []


async def test_body_that_comes_slowly_but_steadily_is_taken(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, moved = asyncio.get_running_loop(), 0.0
    real_time = loop.time
    monkeypatch.setattr(loop, "time", lambda: real_time() + moved)

    async def slowly() -> AsyncIterator[bytes]:
        nonlocal moved
        for piece in (b"{", b" ", b" ", b" ", b"}"):
            # Rounds of the loop in which a limit begins, and in which one that has passed is noticed.
            await asyncio.sleep(0)
            moved += BODY_SECONDS / 2
            for _ in range(3):
                await asyncio.sleep(0)
            yield piece

    headers = {"Content-Type": "application/json"}
    response = await client.post("/tools/server_time", content=slowly(), headers=headers)
    assert moved > 2 * BODY_SECONDS
    assert response.status_code == 200


async def test_answer_that_has_begun_goes_on_though_the_body_of_its_request_does_not_come(
    environment: dict[str, str],
) -> None:
    app = create_app(load_settings(environment), Timing(body=0.5))
    content = b"\x89PNG\r\n\x1a\n" + bytes(30_000_000)
    authorization = {"Authorization": f"Bearer {KEY}"}
    with ThreadServer(app) as server:
        async with httpx2.AsyncClient(base_url=server.origin, headers=authorization) as client:
            stored = await client.post(UPLOAD, content=content)
        target = urlsplit(stored.json()["url"])
        path = f"{target.path}?{target.query}"
        download = half_a_body(server.origin, path, b"", method="GET")
        async with download as (reader, _), asyncio.timeout(LIMIT_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            # Its limit began later.
            async with half_a_body(server.origin, "/chat") as (stopped, _):
                assert (await answer_of(stopped))[0] == 408
            assert await reader.readexactly(len(content)) == content


async def test_large_bodies_that_a_process_has_no_room_for_are_refused_until_others_have_ended(
    client: httpx2.AsyncClient,
) -> None:
    path, goes_on, held = "/v1/audio/transcriptions", asyncio.Event(), 0

    async def slowly() -> AsyncIterator[bytes]:
        nonlocal held
        yield bytes(MAX_FORM_BYTES)
        held += 1
        await goes_on.wait()

    form = {"Content-Type": "multipart/form-data; boundary=x"}
    others = [
        asyncio.create_task(client.post(path, content=slowly(), headers=form)) for _ in range(2)
    ]
    await until(lambda: held == len(others))
    large = {**form, "Content-Length": str(MAX_FORM_BYTES)}
    refused = await client.post(path, content=slowly(), headers=large)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"]["code"] == "overloaded"
    # Small ones have room.
    assert (await client.post("/tools/server_time", json={})).status_code == 200
    goes_on.set()
    for each in others:
        assert (await each).status_code == 400
    assert (await client.post(path, content=slowly(), headers=large)).status_code == 400


@pytest.mark.parametrize(
    ("memory", "held"), [(512, 96), (1024, 128), (2048, 256), (4096, 256), (None, 256)]
)
def test_bodies_may_take_an_eighth_of_the_memory_within_bounds(
    memory: int | None, held: int
) -> None:
    limit = held_limit(None if memory is None else memory * MEBIBYTE)
    assert limit == held * MEBIBYTE
    assert limit > max(MAX_FORM_BYTES, MAX_JSON_BYTES)
