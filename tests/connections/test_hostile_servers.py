"""Servers that mean harm hurt nobody but whoever called them, and these are told."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from pytest_mock import MockerFixture

from shared.connections import Connections, ConnectRequest
from shared.connections.client.answers import MAX_VALUES
from shared.connections.client.http import MAX_COOKIES, STREAMS_AT_ONCE
from shared.connections.client.incoming import MAX_LIST_BYTES
from shared.connections.errors import ServerRefused, ServerUnavailable
from shared.errors import GatewayError
from shared.outbound import AnswerTooLarge
from tests.conftest import ThreadServer
from tests.connections.calls import CALLBACK, connect
from tests.connections.hostile import (
    MEGABYTE,
    TOOL,
    Exchange,
    Hostile,
    event,
    notification,
    on_call,
    on_stream,
    results,
    serving,
)
from tests.connections.world import StateFolder


async def call(connections: Connections, url: str, seconds: float = 20) -> Any:
    """Connects to a server and calls its tool."""
    client_id = (await connect(connections, url)).record.id
    return await connections.call_tool("alice", client_id, "tool", {}, timeout=seconds)


EXPLODING_PATTERN = {
    "type": "object",
    "properties": {"a": {"type": "string", "pattern": "^(a|a)+$"}},
}
EXPLODING_REFERENCES = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/d0"}},
    "$defs": {
        **{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 4} for n in range(40)},
        "d40": {"type": "string"},
    },
}


@pytest.mark.parametrize("schema", [EXPLODING_PATTERN, EXPLODING_REFERENCES])
async def test_output_schema_of_a_server_is_never_compiled_and_others_are_answered(
    api: httpx2.AsyncClient, mocker: MockerFixture, schema: dict[str, Any]
) -> None:
    # Compiled and run, either takes longer than anybody lives.
    compiled = mocker.patch("jsonschema.validators.validator_for")
    structured = {"content": [], "structuredContent": {"a": "a" * 60 + "!"}}
    tools = {"tools": [{**TOOL, "outputSchema": schema}]}
    with serving(results(tools_list=tools, tools_call=structured)) as (hostile, url):
        connected = await api.post("/mcp/connect", json={"mcp_url": url})
        body = {"client_id": connected.json()["client_id"], "tool_name": "tool"}
        called, listed = await asyncio.gather(
            api.post("/mcp/call_tool", json=body), api.get("/mcp/clients")
        )
    assert called.json()["result"] == structured["structuredContent"]
    assert listed.json()["count"] == 1
    assert not compiled.called
    # Nor is a list asked for because of it.
    assert hostile.seen.count(("mcp", "tools/list")) == 1


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "GZip": gzip.compress,
    "deflate": zlib.compress,
    "gzip, gzip": lambda data: gzip.compress(gzip.compress(data)),
    "identity, gzip": gzip.compress,
    "br": lambda data: data,
    "zstd": lambda data: data,
}


@pytest.mark.parametrize("coding", COMPRESSORS)
@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
async def test_compressed_answer_is_refused_unread(
    connections: Connections, coding: str, content_type: str
) -> None:
    @on_call
    async def compressed(exchange: Exchange) -> None:
        answer = exchange.answer({"content": [{"type": "text", "text": "x" * MEGABYTE}]})
        body = event(answer) if "event" in content_type else answer
        await exchange.respond(
            COMPRESSORS[coding](body), content_type, headers={"content-encoding": coding}
        )

    with serving(compressed) as (_, url), pytest.raises(ServerUnavailable, match="compressed"):
        await call(connections, url)


@pytest.mark.parametrize("content_type", ["text/event-stream", "Text/Event-Stream; charset=zlib"])
async def test_events_that_are_no_text_are_not_unpacked_by_the_name_of_their_charset(
    connections: Connections, content_type: str
) -> None:
    @on_call
    async def packed(exchange: Exchange) -> None:
        answer = event(exchange.answer({"content": [{"type": "text", "text": "read"}]}))
        packed = zlib.compress(answer) if "zlib" in content_type else answer
        await exchange.respond(packed, content_type)

    with serving(packed) as (_, url):
        if "zlib" in content_type:
            with pytest.raises(ServerUnavailable, match="closed the connection"):
                await call(connections, url)
        else:
            assert (await call(connections, url))["content"][0]["text"] == "read"


async def test_answer_of_too_many_values_is_refused_unparsed(connections: Connections) -> None:
    rows = {"content": [], "structuredContent": {"rows": [0] * (MAX_VALUES + 1)}}
    with (
        serving(results(tools_call=rows)) as (_, url),
        pytest.raises(AnswerTooLarge, match=f"more than {MAX_VALUES} values"),
    ):
        await call(connections, url)


async def test_long_text_full_of_commas_and_quotes_is_read(connections: Connections) -> None:
    text = 'a "quoted" word, [another], {and}, \\ more\n' * 20_000
    with serving(results(tools_call={"content": [{"type": "text", "text": text}]})) as (_, url):
        assert (await call(connections, url))["content"][0]["text"] == text


async def flood_of_progress(exchange: Exchange) -> AsyncIterator[bytes]:
    for number in range(3000):
        yield exchange.progress(number)
    yield event(exchange.answer({"content": [{"type": "text", "text": "done"}]}))


async def flood_of_comments(exchange: Exchange) -> AsyncIterator[bytes]:
    yield b": nothing\r\n\r\n" * 10_000
    yield event(exchange.answer({"content": [{"type": "text", "text": "done"}]}))


async def flood_of_line_breaks(exchange: Exchange) -> AsyncIterator[bytes]:
    yield b"\n" * MEGABYTE + b"\r\n" * MEGABYTE
    yield event(exchange.answer({"content": [{"type": "text", "text": "done"}]}))


async def flood_of_cancellations(exchange: Exchange) -> AsyncIterator[bytes]:
    for number in range(3000):
        yield notification("notifications/cancelled", {"requestId": number})
    yield event(exchange.answer({"content": [{"type": "text", "text": "done"}]}))


async def answer_in_single_bytes(exchange: Exchange) -> AsyncIterator[bytes]:
    text = event(exchange.answer({"content": [{"type": "text", "text": "done"}]}))
    for byte in text.replace(b"\n", b"\r\n"):
        yield bytes([byte])


@pytest.mark.parametrize(
    "chunks",
    [
        flood_of_progress,
        flood_of_comments,
        flood_of_line_breaks,
        flood_of_cancellations,
        answer_in_single_bytes,
    ],
)
async def test_answer_is_found_in_whatever_comes_with_it(
    connections: Connections, chunks: Callable[[Exchange], AsyncIterator[bytes]]
) -> None:
    with serving(on_stream(chunks)) as (_, url):
        assert (await call(connections, url))["content"][0]["text"] == "done"


async def endless_comments(exchange: Exchange) -> AsyncIterator[bytes]:
    while True:
        yield b": nothing\n\n" * 1000


async def endless_notifications(exchange: Exchange) -> AsyncIterator[bytes]:
    while True:
        yield notification("notifications/message", {"level": "info", "data": "x" * 1000}) * 100


async def endless_event(exchange: Exchange) -> AsyncIterator[bytes]:
    while True:
        yield b"data: " + b"x" * 65536 + b"\n"


async def event_of_many_lines(exchange: Exchange) -> AsyncIterator[bytes]:
    yield b"data:\n" * 100_000 + b"\n"


@pytest.mark.parametrize(
    ("chunks", "complaint"),
    [
        (endless_comments, "too many events"),
        (endless_notifications, "too many events"),
        (endless_event, "larger than 8388608 bytes"),
        (event_of_many_lines, "more than 1000 lines"),
    ],
)
async def test_stream_without_an_answer_is_given_up(
    connections: Connections,
    chunks: Callable[[Exchange], AsyncIterator[bytes]],
    complaint: str,
) -> None:
    with serving(on_stream(chunks)) as (_, url), pytest.raises(AnswerTooLarge, match=complaint):
        await call(connections, url)


async def test_answer_with_too_many_or_too_long_headers_is_refused(
    connections: Connections,
) -> None:
    for headers in ({f"x-{n}": "y" for n in range(150)}, {"mcp-session-id": "x" * 20_000}):

        @on_call
        async def heavy(exchange: Exchange, headers: dict[str, str] = headers) -> None:
            await exchange.respond(exchange.answer({"content": []}), headers=headers)

        with serving(heavy) as (_, url), pytest.raises(AnswerTooLarge, match="header"):
            await call(connections, url)


async def test_a_session_takes_only_so_many_cookies(connections: Connections) -> None:
    sent_back: list[int] = []
    given = 0

    @on_call
    async def baker(exchange: Exchange) -> None:
        nonlocal given
        given += 1
        headers = [(b"content-type", b"application/json")]
        headers += [(b"set-cookie", f"c{given}_{n}=x".encode()) for n in range(20)]
        await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
        await exchange.write(exchange.answer({"content": []}), more=False)
        sent_back.append(exchange.cookies)

    with serving(baker) as (_, url):
        client_id = (await connect(connections, url)).record.id
        for _ in range(5):
            await connections.call_tool("alice", client_id, "tool", {})
    assert sent_back[1] == 20
    assert max(sent_back) <= MAX_COOKIES


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_metadata_for_authorization_is_read_up_to_its_limit_whatever_it_calls_itself(
    connections: Connections, content_type: str
) -> None:
    async def endless(exchange: Exchange) -> None:
        if exchange.method != "GET":
            await exchange.respond(b"", status=401)
            return
        await exchange.start(content_type)
        while True:
            await exchange.write(b" " * 65536)

    hostile = Hostile({"mcp": endless, ".well-known/oauth-protected-resource/mcp": endless})
    with ThreadServer(hostile) as server:
        request = ConnectRequest(mcp_url=f"{server.origin}/mcp", auth_type="oauth", timeout=20)
        with pytest.raises(AnswerTooLarge):
            await connections.connect("alice", request, CALLBACK)
    assert sum(hostile.written.values()) < 20 * MEGABYTE


async def test_list_without_end_is_cut(connections: Connections) -> None:
    def page(message: dict[str, Any]) -> dict[str, Any]:
        cursor = int(message["params"].get("cursor") or 0)
        return {"tools": [], "nextCursor": str(cursor + 1)}

    with serving(results(tools_list=page)) as (hostile, url):
        connected = await connect(connections, url)
    assert connected.offer.tools.is_cut
    assert hostile.seen.count(("mcp", "tools/list")) <= 100


@pytest.mark.parametrize(
    "result",
    [
        "text",
        [],
        {"content": "text"},
        {"content": [{"type": "nonsense"}] * 5000},
        {"content": [{"type": "text"}]},
        {"structuredContent": {"a": 1}},
        {"content": [], "resultType": 7},
        {"resultType": "input_required", "inputRequests": {"a": {"method": "roots/list"}}},
        {"resultType": "input_required", "requestState": "again"},
    ],
)
async def test_result_of_the_wrong_form_is_told_and_the_next_call_works(
    connections: Connections, result: Any
) -> None:
    is_odd = True

    async def once(exchange: Exchange) -> None:
        if exchange.is_call and is_odd:
            await exchange.respond(exchange.answer(result))
        else:
            await exchange.reply()

    with serving(once) as (_, url):
        client_id = (await connect(connections, url)).record.id

        async def use() -> Any:
            return await connections.call_tool("alice", client_id, "tool", {}, timeout=10)

        with pytest.raises(GatewayError) as raised:
            await use()
        assert "MCP server" in raised.value.detail
        is_odd = False
        assert (await use())["content"][0]["text"] == "done"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[" * 100_000,
        b'{"jsonrpc": "2.0", "id": 1, "result": ' + b'{"a":' * 40_000 + b"1" + b"}" * 40_001,
        b'{"jsonrpc": "2.0", "id": 1, "result": {"a": ' + b"9" * 100_000 + b"}}",
        b'{"jsonrpc": "2.0", "id": 1, "result": {"a": "\\ud800"}}',
        b"\xff\xfe\x00",
    ],
)
async def test_body_that_is_no_message_is_told(connections: Connections, body: bytes) -> None:
    @on_call
    async def broken(exchange: Exchange) -> None:
        await exchange.respond(body)

    with serving(broken) as (_, url), pytest.raises(GatewayError, match="server"):
        await call(connections, url)


async def test_deep_result_is_answered_by_every_route(api: httpx2.AsyncClient) -> None:
    deep: Any = 1
    for _ in range(90):
        deep = {"a": [deep]}
    structured = {"content": [], "structuredContent": {"deep": deep}}
    with serving(results(tools_call=structured)) as (_, url):
        connected = await api.post("/mcp/connect", json={"mcp_url": url})
        body = {"client_id": connected.json()["client_id"], "tool_name": "tool"}
        answer = await api.post("/mcp/call_tool", json=body)
    assert answer.status_code == 200
    assert answer.json()["result"] == {"deep": deep}


async def test_what_a_server_says_of_itself_is_kept_short(
    connections: Connections, store: StateFolder
) -> None:
    chatty = {
        "supportedVersions": ["2026-07-28", *["x" * 100_000] * 50],
        "capabilities": {"tools": {}, "experimental": {"x": {"y": "z" * 1_000_000}}},
        "instructions": "obey " * 100_000,
        "_meta": {"x": "y" * 100_000},
    }
    with serving(results(server_discover=chatty)) as (_, url):
        assert (await call(connections, url))["content"][0]["text"] == "done"
    assert len(store.text) < 5000


async def test_streams_that_end_at_once_are_not_resumed_without_end(
    connections: Connections,
) -> None:
    @on_call
    async def resuming(exchange: Exchange) -> None:
        await exchange.respond(b"id: 1\nretry: 0\ndata: \n\n", "text/event-stream")

    async def trick(exchange: Exchange) -> None:
        if exchange.method == "GET":
            await exchange.respond(b"id: 2\nretry: 0\ndata: \n\n", "text/event-stream")
        else:
            await resuming(exchange)

    with serving(trick) as (hostile, url):
        with pytest.raises(GatewayError):
            await call(connections, url, seconds=2)
        gets = hostile.seen.count(("mcp", "GET"))
    assert gets <= STREAMS_AT_ONCE + 10


async def test_requests_of_a_server_are_not_answered_without_end(connections: Connections) -> None:
    async def pings(exchange: Exchange) -> AsyncIterator[bytes]:
        for number in range(2000):
            ping = {"jsonrpc": "2.0", "id": f"p{number}", "method": "ping"}
            yield event(json.dumps(ping).encode())
        yield event(exchange.answer({"content": [{"type": "text", "text": "done"}]}))

    with serving(on_stream(pings)) as (hostile, url):
        assert (await call(connections, url))["content"][0]["text"] == "done"
        answers = hostile.seen.count(("mcp", "POST"))
    assert answers <= 200


async def test_list_of_heavy_entries_is_cut_where_it_is_too_long(connections: Connections) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "description": "x" * 15_000}},
    }
    tools = [{**TOOL, "name": f"t{number}", "inputSchema": schema} for number in range(400)]
    with serving(results(tools_list={"tools": tools})) as (_, url):
        offer = (await connect(connections, url)).offer
    assert offer.tools.is_cut
    assert 0 < len(json.dumps(offer.tools)) <= MAX_LIST_BYTES


def error_of(exchange: Exchange, message: str) -> bytes:
    error = {"code": -32000, "message": message}
    return json.dumps({"jsonrpc": "2.0", "id": exchange.message.get("id"), "error": error}).encode()


@pytest.mark.parametrize("kind", ["answer", "event", "status"])
async def test_error_that_a_server_sends_is_told_in_its_words(
    connections: Connections, kind: str
) -> None:
    @on_call
    async def refusing(exchange: Exchange) -> None:
        error = error_of(exchange, "no such luck")
        if kind == "event":
            await exchange.respond(event(error), "text/event-stream")
        else:
            await exchange.respond(error, status=400 if kind == "status" else 200)

    with serving(refusing) as (_, url), pytest.raises(ServerRefused) as raised:
        await call(connections, url)
    assert raised.value.detail == "The MCP server says: no such luck"


@pytest.mark.parametrize("kind", ["no JSON", "page", "accepted"])
async def test_words_of_the_sdk_are_not_told_as_the_servers(
    connections: Connections, kind: str
) -> None:
    @on_call
    async def broken(exchange: Exchange) -> None:
        if kind == "no JSON":
            await exchange.respond(b'{"jsonrpc": "2.0", "id": 1, "result"')
        elif kind == "page":
            await exchange.respond(b"<html>", "text/html")
        else:
            await exchange.respond(b"", "text/plain", 202)

    with serving(broken) as (_, url), pytest.raises(GatewayError) as raised:
        await call(connections, url)
    assert raised.value.detail == (
        "The MCP server's answer does not follow the protocol. Check its URL and the transport."
    )


async def test_server_that_asks_for_input_of_a_user_gets_none(connections: Connections) -> None:
    asking = {"resultType": "input_required", "inputRequests": {"a": {"method": "roots/list"}}}
    with serving(results(tools_call=asking)) as (_, url), pytest.raises(ServerRefused) as raised:
        await call(connections, url)
    assert raised.value.detail == (
        "The MCP server asks for input that this app does not give to servers."
    )
