"""Batches of JSON-RPC, which revision 2025-03-26 has and no other."""

import json
import re
from typing import Any

import httpx2
import pytest

from tests.mcp.support import SERVER_TIME, answers, notification, request

INITIALIZED = notification("notifications/initialized")


def by_id(response: httpx2.Response) -> dict[Any, Any]:
    """The answers of a batch, which may come in any order, by the id of their request."""
    assert response.headers["content-type"] == "text/event-stream"
    messages = answers(response)
    found = {message["id"]: message for message in messages}
    assert len(found) == len(messages)
    return found


@pytest.mark.parametrize("headers", [{}, {"MCP-Protocol-Version": "2025-03-26"}])
async def test_batch_is_answered_in_one_stream_with_one_answer_for_each_request(
    wire: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    call = request(1, "tools/call", {"name": "server_time"})
    batch = [call, INITIALIZED, request("two", "ping"), request(3, "no/such")]
    response = await wire.post("/mcp", json=batch, headers=headers)
    assert response.status_code == 200
    found = by_id(response)
    assert [*sorted(found, key=str)] == [1, 3, "two"]
    assert found["two"]["result"] == {}
    assert found[3]["error"]["code"] == -32601
    assert re.fullmatch(SERVER_TIME, found[1]["result"]["structuredContent"]["server_time"])


async def test_batch_of_the_largest_size_is_answered(wire: httpx2.AsyncClient) -> None:
    batch = [request(id_, "ping") for id_ in range(100)]
    found = by_id(await wire.post("/mcp", json=batch))
    assert found == {id_: {"jsonrpc": "2.0", "id": id_, "result": {}} for id_ in range(100)}


BAD_ID = {
    "code": -32600,
    "message": "The id of a request must be a string or an integer. Send one.",
}


@pytest.mark.parametrize("bad", [None, 1.5, True, [], {}])
async def test_request_with_an_id_that_the_protocol_forbids_is_refused_alone_and_in_a_batch(
    wire: httpx2.AsyncClient, bad: Any
) -> None:
    call = {**request(1, "tools/call", {"name": "server_time"}), "id": bad}
    alone = await wire.post("/mcp", json=call)
    assert alone.status_code == 400
    assert alone.json() == {"jsonrpc": "2.0", "id": None, "error": BAD_ID}
    found = by_id(await wire.post("/mcp", json=[call, request(2, "ping")]))
    assert found == {None: alone.json(), 2: {"jsonrpc": "2.0", "id": 2, "result": {}}}


@pytest.mark.parametrize("size", [0, 101])
async def test_batch_of_no_messages_or_too_many_answers_400(
    wire: httpx2.AsyncClient, size: int
) -> None:
    response = await wire.post("/mcp", json=[request(id_, "ping") for id_ in range(size)])
    assert response.status_code == 400
    assert response.json() == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32600, "message": "A batch holds 1 to 100 messages."},
    }


@pytest.mark.parametrize(
    "batch",
    [[INITIALIZED], [INITIALIZED, INITIALIZED], [{"jsonrpc": "2.0", "id": 1, "result": {}}]],
)
async def test_batch_without_a_request_answers_202_without_a_body(
    wire: httpx2.AsyncClient, batch: list[Any]
) -> None:
    response = await wire.post("/mcp", json=batch)
    assert (response.status_code, response.content) == (202, b"")


@pytest.mark.parametrize(
    "element",
    [
        7,
        None,
        "ping",
        [],
        {},
        {"foo": "bar"},
        {"jsonrpc": "2.0", "method": 1},
        [request(2, "ping")],
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("is_alone", [False, True])
async def test_element_that_is_no_message_is_answered_with_an_error(
    wire: httpx2.AsyncClient, element: Any, is_alone: bool
) -> None:
    others = [] if is_alone else [request(1, "ping"), INITIALIZED]
    found = by_id(await wire.post("/mcp", json=[*others, element]))
    assert isinstance(found.pop(None)["error"]["code"], int)
    assert found == ({} if is_alone else {1: {"jsonrpc": "2.0", "id": 1, "result": {}}})


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25", "2026-07-28"])
async def test_batch_of_a_revision_without_batches_answers_400(
    wire: httpx2.AsyncClient, version: str
) -> None:
    headers = {"MCP-Protocol-Version": version}
    response = await wire.post("/mcp", json=[request(1, "ping")], headers=headers)
    body = response.json()
    assert (response.status_code, body["jsonrpc"], body["id"]) == (400, "2.0", None)
    assert isinstance(body["error"]["code"], int)


async def test_calls_of_a_batch_that_fail_leave_the_others_alone(
    wire: httpx2.AsyncClient,
) -> None:
    batch = [
        request(1, "tools/call", {"name": "server_time", "arguments": {"timezone": "CET"}}),
        request(2, "tools/call", {"name": "paint"}),
        request(3, "tools/call", {"name": "server_time"}),
        request(4, "tools/call", {}),
    ]
    found = by_id(await wire.post("/mcp", json=batch))
    errors = {id_: message.get("result", {}).get("isError") for id_, message in found.items()}
    assert errors == {1: True, 2: True, 3: False, 4: None}
    assert found[4]["error"]["code"] == -32602


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (None, "A message must be a JSON object. Send one."),
        (1, "A message must be a JSON object. Send one."),
        ({**request(1, "ping"), "jsonrpc": "1.0"}, "The field jsonrpc of a message must be '2.0'."),
        (
            {**notification("notifications/x"), "jsonrpc": "1.0"},
            "The field jsonrpc of a message must be '2.0'.",
        ),
        ({"jsonrpc": "2.0", "id": 1}, "A message must have a method, a result or an error."),
        (
            {"jsonrpc": "2.0", "id": 1, "method": 5},
            "The field method of a message must be a string.",
        ),
    ],
    ids=json.dumps,
)
async def test_what_is_no_message_is_refused_with_a_sentence_alone_and_in_a_batch(
    wire: httpx2.AsyncClient, message: Any, complaint: str
) -> None:
    alone = await wire.post("/mcp", content=json.dumps(message))
    error = {"code": -32600, "message": complaint}
    assert alone.status_code == 400
    assert alone.json() == {"jsonrpc": "2.0", "id": None, "error": error}
    assert by_id(await wire.post("/mcp", json=[message])) == {None: alone.json()}
