"""`POST /mcp` as bytes on the wire: methods, keys, origins, revisions, limits."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import pytest

from shared.mcp_server import MAX_MESSAGE_BYTES
from tests.conftest import AUTH, KEY, TOOLS, MakeClient, StandIn
from tests.mcp.support import (
    CHAT_ONLY_KEY,
    HEADERS,
    MCP_ORIGIN,
    PAGE_ORIGIN,
    answers,
    initialize,
    modern_request,
    notification,
    request,
)

PING = request(1, "ping")
PONG = {"jsonrpc": "2.0", "id": 1, "result": {}}
UNAUTHORIZED = (
    "A valid API key is required: send the key as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'."
)


def error_body(response: httpx2.Response) -> dict[str, Any]:
    """The body of an error without its request id, which has to be that of the header."""
    body: dict[str, Any] = response.json()
    assert body.pop("request_id") == response.headers["x-request-id"]
    return body


# Methods


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("accept", ["text/event-stream", "*/*"])
async def test_other_methods_end_with_405_that_names_post(
    wire: httpx2.AsyncClient, method: str, accept: str
) -> None:
    response = await wire.request(method, "/mcp", headers={"Accept": accept})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert error_body(response) == {
        "detail": f"This path does not take {method}. Send POST.",
        "code": "method_not_allowed",
    }


# Size


# Names as Azure gives them, old ones, new ones and the longest, with whether they leave room for icons;
# then the longest that does, and the next.
HOSTS = {
    "openai-mcp-functions.azurewebsites.net": True,
    "openai-mcp-functions-a1b2c3d4e5f6g7h8.westus-01.azurewebsites.net": True,
    f"{'a' * 60}-a1b2c3d4e5f6g7h8.germanywestcentral-01.azurewebsites.net": False,
    "a" * 72: True,
    "a" * 73: False,
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"])
async def test_list_of_tools_is_small_on_the_wire(
    make_client: MakeClient, environment: dict[str, str], version: str, host: str
) -> None:
    url = f"https://{host}"
    client = make_client(environment | {"PUBLIC_BASE_URL": url}, {**HEADERS, **AUTH})
    message, headers = request(1, "tools/list"), {"MCP-Protocol-Version": version}
    if version == "2026-07-28":
        message, headers = modern_request("tools/list")
    response = await client.post("/mcp", json=message, headers=headers)
    assert len(response.content) < 16_000
    [answer] = answers(response)
    icons = [tool.get("icons") for tool in answer["result"]["tools"] if "icons" in tool]
    # Icons came with revision 2025-11-25, and are left out where they would be too long.
    assert bool(icons) is (version >= "2025-11-25" and HOSTS[host])
    assert all(icon["src"].startswith(f"{url}/pages/") for [icon] in icons)


# Keys


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"X-Api-Key": "wrong"}, {"Authorization": KEY}],
)
async def test_no_key_and_a_wrong_key_answer_401(
    wire: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    del wire.headers["authorization"]
    response = await wire.post("/mcp", json=PING, headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert error_body(response) == {"detail": UNAUTHORIZED, "code": "unauthorized"}


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {KEY}"}, {"X-Api-Key": KEY}, {"x-functions-key": KEY}]
)
async def test_key_counts_in_each_of_its_headers(
    wire: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    del wire.headers["authorization"]
    response = await wire.post("/mcp", json=PING, headers=headers)
    assert answers(response) == [PONG]


async def test_key_without_the_scope_answers_403(wire: httpx2.AsyncClient) -> None:
    headers = {"Authorization": f"Bearer {CHAT_ONLY_KEY}"}
    response = await wire.post("/mcp", json=PING, headers=headers)
    assert response.status_code == 403
    assert error_body(response) == {
        "detail": "This key lacks the scope 'tools'. Add it to the key's 'scopes' in API_KEYS, or with "
        "PATCH /keys/{name} where the key is stored.",
        "code": "insufficient_scope",
    }


async def test_unknown_caller_learns_nothing_of_the_limits(wire: httpx2.AsyncClient) -> None:
    headers = {"Authorization": "Bearer wrong"}
    response = await wire.post("/mcp", content=b" " * (MAX_MESSAGE_BYTES + 1), headers=headers)
    assert response.status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    ],
)
async def test_no_oauth_metadata_is_published(wire: httpx2.AsyncClient, path: str) -> None:
    response = await wire.get(path)
    assert response.status_code == 404
    assert error_body(response) == {
        "detail": "There is no route at this path. GET /openapi.json lists the routes.",
        "code": "not_found",
    }


# Origins


@pytest.mark.parametrize(
    "sender",
    ["https://evil.example", "null", f"{MCP_ORIGIN}.evil.example", "http://localhost:6274"],
)
async def test_foreign_origin_answers_403(wire: httpx2.AsyncClient, sender: str) -> None:
    response = await wire.post("/mcp", json=PING, headers={"Origin": sender})
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers
    assert error_body(response) == {
        "detail": "This origin may not call the MCP endpoint. Add it to MCP_ALLOWED_ORIGINS.",
        "code": "forbidden_origin",
    }


@pytest.mark.parametrize("sender", [MCP_ORIGIN, PAGE_ORIGIN])
async def test_allowed_origin_is_answered_and_may_read_the_answer(
    wire: httpx2.AsyncClient, sender: str
) -> None:
    response = await wire.post("/mcp", json=PING, headers={"Origin": sender})
    assert answers(response) == [PONG]
    assert response.headers["access-control-allow-origin"] == sender


@pytest.mark.parametrize(
    ("host", "sender", "status"),
    [
        ("localhost:7071", "http://localhost:7071", 200),
        ("127.0.0.1:7071", "http://127.0.0.1:7071", 200),
        ("[::1]:7071", "http://[::1]:7071", 200),
        ("app.example", "https://app.example", 200),
        ("localhost:7071", "http://localhost:3000", 403),
        ("rebound.example", "http://rebound.example", 403),
        ("localhost.rebound.example", "http://localhost.rebound.example", 403),
        ("[", "http://[", 403),
        ("app.example", "https://other.example", 403),
    ],
)
async def test_own_origin_is_allowed_where_no_name_can_be_rebound(
    wire: httpx2.AsyncClient, host: str, sender: str, status: int
) -> None:
    response = await wire.post("/mcp", json=PING, headers={"Host": host, "Origin": sender})
    assert response.status_code == status


@pytest.mark.parametrize("sender", [MCP_ORIGIN, PAGE_ORIGIN])
async def test_preflight_of_an_allowed_origin_allows_what_clients_send(
    wire: httpx2.AsyncClient, sender: str
) -> None:
    asked = "authorization,content-type,mcp-method,mcp-name,mcp-protocol-version"
    del wire.headers["authorization"]
    response = await wire.options("/mcp", headers=preflight(sender, asked))
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == sender
    assert "POST" in response.headers["access-control-allow-methods"].split(", ")
    assert set(response.headers["access-control-allow-headers"].lower().split(",")) >= {
        *asked.split(",")
    }


async def test_preflight_of_a_foreign_origin_allows_nothing(wire: httpx2.AsyncClient) -> None:
    headers = preflight("https://evil.example", "authorization")
    response = await wire.options("/mcp", headers=headers)
    assert response.status_code == 400
    assert "access-control-allow-origin" not in response.headers


async def test_mcp_origin_is_no_origin_of_other_routes(wire: httpx2.AsyncClient) -> None:
    response = await wire.options("/chat", headers=preflight(MCP_ORIGIN, "authorization"))
    assert "access-control-allow-origin" not in response.headers


def preflight(sender: str, headers: str) -> dict[str, str]:
    """The headers of the question that a browser asks before a POST."""
    return {
        "Origin": sender,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": headers,
    }


# Revisions


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
async def test_handshake_agrees_on_the_revision_that_is_asked_for(
    wire: httpx2.AsyncClient, version: str
) -> None:
    response = await wire.post("/mcp", json=initialize(version))
    [answer] = answers(response)
    assert answer["result"]["protocolVersion"] == version
    assert "mcp-session-id" not in response.headers

    headers = {"MCP-Protocol-Version": version}
    done = await wire.post("/mcp", json=notification("notifications/initialized"), headers=headers)
    assert (done.status_code, done.content) == (202, b"")
    assert answers(await wire.post("/mcp", json=PING, headers=headers)) == [PONG]


async def test_handshake_offers_the_newest_revision_in_place_of_an_unknown_one(
    wire: httpx2.AsyncClient,
) -> None:
    [answer] = answers(await wire.post("/mcp", json=initialize("1999-01-01")))
    assert answer["result"]["protocolVersion"] == "2025-11-25"


async def test_newest_revision_needs_no_handshake(wire: httpx2.AsyncClient) -> None:
    body, headers = modern_request("server/discover")
    [answer] = answers(await wire.post("/mcp", json=body, headers=headers))
    assert answer["result"]["supportedVersions"] == ["2026-07-28"]


@pytest.mark.parametrize("version", [None, "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_tools_are_listed_without_a_handshake(
    wire: httpx2.AsyncClient, version: str | None
) -> None:
    headers = {"MCP-Protocol-Version": version} if version else {}
    [answer] = answers(await wire.post("/mcp", json=request("a", "tools/list"), headers=headers))
    assert answer["id"] == "a"
    assert [tool["name"] for tool in answer["result"]["tools"]] == TOOLS


async def test_unknown_revision_answers_400_with_the_supported_ones(
    wire: httpx2.AsyncClient,
) -> None:
    body, headers = modern_request("tools/list", version="1999-01-01")
    response = await wire.post("/mcp", json=body, headers=headers)
    assert response.status_code == 400
    assert response.json() == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {
            "code": -32022,
            "message": "Unsupported protocol version",
            "data": {"supported": ["2026-07-28"], "requested": "1999-01-01"},
        },
    }


@pytest.mark.parametrize("parameters", [None, {"_meta": {"progressToken": 1}}, {"_meta": 1}])
async def test_unknown_revision_in_the_header_alone_answers_400(
    wire: httpx2.AsyncClient, parameters: dict[str, Any] | None
) -> None:
    headers = {"MCP-Protocol-Version": "1999-01-01"}
    response = await wire.post("/mcp", json=request(1, "ping", parameters), headers=headers)
    body = response.json()
    assert (response.status_code, body["jsonrpc"], body["id"]) == (400, "2.0", 1)
    supported = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]
    assert body["error"] == {
        "code": -32022,
        "message": "The version in MCP-Protocol-Version is not supported. "
        f"Send one of {', '.join(supported)}.",
        "data": {"supported": supported, "requested": "1999-01-01"},
    }


async def test_header_that_contradicts_the_body_answers_400(wire: httpx2.AsyncClient) -> None:
    body, headers = modern_request("tools/call", {"name": "server_time"})
    response = await wire.post("/mcp", json=body, headers={**headers, "Mcp-Name": "generate"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32020)


# Messages and limits


async def test_answer_is_a_stream_that_nothing_on_the_way_may_hold_back(
    wire: httpx2.AsyncClient,
) -> None:
    response = await wire.post("/mcp", json=PING)
    sent = {
        name: response.headers[name]
        for name in ("content-type", "cache-control", "x-accel-buffering")
    }
    assert sent == {
        "content-type": "text/event-stream",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
    }


@pytest.mark.parametrize("version", [None, "2026-07-28"])
@pytest.mark.parametrize("body", [b"{broken", b"", b'[{"jsonrpc": "2.0"', b"\xff\xfe"])
async def test_broken_json_answers_400_as_a_parse_error(
    wire: httpx2.AsyncClient, body: bytes, version: str | None
) -> None:
    headers = {"MCP-Protocol-Version": version} if version else {}
    response = await wire.post("/mcp", content=body, headers=headers)
    answer = response.json()
    assert (response.status_code, answer["jsonrpc"], answer["id"]) == (400, "2.0", None)
    assert answer["error"]["code"] == -32700


@pytest.mark.parametrize("body", [b"7", b'"ping"', b"null", b"{}", b'{"jsonrpc": "2.0", "id": 1}'])
async def test_json_that_is_no_message_answers_400(wire: httpx2.AsyncClient, body: bytes) -> None:
    response = await wire.post("/mcp", content=body)
    answer = response.json()
    assert (response.status_code, answer["jsonrpc"], answer["id"]) == (400, "2.0", None)
    assert isinstance(answer["error"]["code"], int)


async def test_deeply_nested_json_answers_400(wire: httpx2.AsyncClient) -> None:
    response = await wire.post("/mcp", content=b"[" * 100_000)
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32600)


async def test_body_of_the_largest_size_is_read(wire: httpx2.AsyncClient) -> None:
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'.ljust(MAX_MESSAGE_BYTES)
    assert answers(await wire.post("/mcp", content=body)) == [PONG]


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_body_over_the_limit_answers_413(wire: httpx2.AsyncClient, is_chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_MESSAGE_BYTES // 2**16 + 1):
            yield b" " * 2**16

    content = chunks() if is_chunked else b" " * (MAX_MESSAGE_BYTES + 1)
    response = await wire.post("/mcp", content=content)
    assert response.status_code == 413
    assert error_body(response) == {
        "detail": "The request body may have at most 4194304 bytes. Send less.",
        "code": "too_large",
    }


@pytest.mark.parametrize("version", ["2025-03-26", "2025-11-25", "2026-07-28"])
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonl", ""]
)
@pytest.mark.parametrize("is_batch", [False, True])
async def test_other_content_type_answers_415_and_says_what_to_send(
    wire: httpx2.AsyncClient, version: str, content_type: str, is_batch: bool
) -> None:
    headers = {"Content-Type": content_type, "MCP-Protocol-Version": version}
    response = await wire.post("/mcp", content=as_json(PING, is_batch), headers=headers)
    sentence = (
        "The header Content-Type must be application/json. Send 'Content-Type: application/json'."
    )
    assert (response.status_code, response.json()) == (415, protocol_error(sentence))


@pytest.mark.parametrize("version", ["2025-03-26", "2025-11-25", "2026-07-28"])
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "text/html", ""])
@pytest.mark.parametrize("is_batch", [False, True])
async def test_client_that_does_not_take_both_kinds_of_answer_gets_406_that_says_what_to_send(
    wire: httpx2.AsyncClient, version: str, accept: str, is_batch: bool
) -> None:
    headers = {"Accept": accept, "MCP-Protocol-Version": version}
    response = await wire.post("/mcp", content=as_json(PING, is_batch), headers=headers)
    sentence = (
        "The header Accept must name application/json and text/event-stream. "
        "Send 'Accept: application/json, text/event-stream'."
    )
    assert (response.status_code, response.json()) == (406, protocol_error(sentence))


def protocol_error(message: str) -> dict[str, Any]:
    """An error of JSON-RPC that answers no message."""
    return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": message}}


def as_json(message: Mapping[str, Any], is_batch: bool) -> bytes:
    """A message, or a batch that holds nothing but it."""
    document = httpx2.Request("POST", "http://app", json=[message] if is_batch else message)
    return document.content


@pytest.mark.parametrize(
    "name", ["notifications/initialized", "notifications/cancelled", "notifications/unheard_of"]
)
async def test_notification_answers_202_without_a_body(wire: httpx2.AsyncClient, name: str) -> None:
    response = await wire.post("/mcp", json=notification(name))
    assert (response.status_code, response.content) == (202, b"")


async def test_unknown_method_is_an_error_of_the_protocol(wire: httpx2.AsyncClient) -> None:
    [answer] = answers(await wire.post("/mcp", json=request(1, "no/such")))
    assert (answer["id"], answer["error"]["code"]) == (1, -32601)


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-06-18"])
async def test_trace_of_a_caller_goes_on_to_the_provider_though_nothing_records_spans(
    wire: httpx2.AsyncClient, stand_in: StandIn, revision: str
) -> None:
    trace = "1" * 32
    message, headers = modern_request("tools/call", {"name": "generate"}, revision)
    message["params"] |= {"arguments": {"prompt": "Say hello"}}
    message["params"]["_meta"] |= {"traceparent": f"00-{trace}-{'2' * 16}-01"}
    response = await wire.post("/mcp", json=message, headers=headers)
    assert not answers(response)[-1]["result"].get("isError"), response.text
    [sent] = stand_in.requests()
    assert sent["headers"]["traceparent"].split("-")[1] == trace
