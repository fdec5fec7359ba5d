import gc
import json
import logging
import re
import weakref
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi.routing import iter_route_contexts
from pytest_mock import MockerFixture
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from shared.app import create_app
from shared.disconnect import SHUTDOWN_REASON
from shared.routes.middleware import RequestMiddleware
from shared.settings import SCOPES, load_settings
from tests.conftest import KEY, MakeClient, digest
from tests.integration.log_lines import request_lines

ORIGIN = "https://app.example"
EXPOSED = [
    "x-request-id",
    "x-provider",
    "x-cost-usd",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "openai-processing-ms",
    "location",
    "content-disposition",
    "www-authenticate",
]
"""Headers that pages of other origins are to read."""


async def test_request_id_of_the_caller_is_answered_and_logged(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    response = await client.get("/tools", headers={"X-Request-Id": "trace-1"})
    assert response.headers["x-request-id"] == "trace-1"
    (line,) = request_lines(caplog)
    assert line.pop("duration_ms") is not None
    assert line == {
        "request_id": "trace-1",
        "method": "GET",
        "route": "/tools",
        "status": 200,
        "principal": "default",
        "outcome": "ok",
    }


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>"])
async def test_odd_request_id_is_replaced(client: httpx2.AsyncClient, given: str) -> None:
    response = await client.get("/health", headers={"X-Request-Id": given})
    assert response.headers["x-request-id"] != given
    assert len(response.headers["x-request-id"]) == 32


async def test_log_holds_no_content(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "shared")
    await client.post("/chat?q=in-the-query", json={"message": "in-the-message server_time"})
    await client.get("/no/such/in-the-path")
    assert [line["route"] for line in request_lines(caplog)] == ["/chat", None]
    for secret in ("in-the-query", "in-the-message", "in-the-path", "MCP Server Time"):
        assert secret not in caplog.text


async def test_unknown_route_has_the_error_shape(client: httpx2.AsyncClient) -> None:
    response = await client.get("/.well-known/oauth-protected-resource")
    assert response.status_code == 404
    assert response.json() == {
        "detail": "There is no route at this path. GET /openapi.json lists the routes.",
        "code": "not_found",
        "request_id": response.headers["x-request-id"],
    }


async def test_wrong_method_says_which_is_right(client: httpx2.AsyncClient) -> None:
    response = await client.get("/chat")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["code"] == "method_not_allowed"


async def test_every_path_names_the_methods_that_it_answers_and_no_other(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    keys = {"default": {"sha256": digest(KEY), "scopes": list(SCOPES)}}
    environment |= {"API_KEYS": json.dumps(keys)}
    client = make_client(environment)
    templates = {
        each.path or ""
        for each in iter_route_contexts(create_app(load_settings(environment)).routes)
    }
    assert {"/mcp", "/v1/{path:path}", "/media/{media_id}"} <= templates
    for path in (re.sub("{[^}]*}", "unknown", each) for each in templates):
        refused = await client.options(path)
        assert refused.status_code == (404 if path == "/v1/unknown" else 405), path
        answered = []
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT"):
            response = await client.request(method, path)
            # Under /v1 what is not there is answered in OpenAI's format, with 404.
            if response.status_code != 405 and "There is no route /v1/" not in response.text:
                answered += ["GET", "HEAD"] if method == "GET" else [method]
        assert refused.headers.get("allow", "") == ", ".join(answered), path


@pytest.mark.parametrize("path", ["/chat", "/tools/generate"])
async def test_broken_json_answers_400(client: httpx2.AsyncClient, path: str) -> None:
    response = await client.post(
        path, content=b'{"message": ', headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 400
    assert response.json() == {
        "detail": "The body is not valid JSON.",
        "code": "invalid_request",
        "request_id": response.headers["x-request-id"],
    }


@pytest.mark.parametrize(
    "content",
    [
        b'{"message": "a", "model": "\\ud800"}',
        b"\xff{}",
        b'{"message": "\xff"}',
        b"1" * 5000,
    ],
    ids=["half a character", "no UTF-8", "no UTF-8 inside", "too long a number"],
)
async def test_unreadable_json_answers_400(client: httpx2.AsyncClient, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = await client.post("/chat", content=content, headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert response.json()["detail"] == "The body is not valid JSON."


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"message": "hi"}', "text/plain"),
        (b'{"message": "hi"}', "application/x-www-form-urlencoded"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b"", "application/json"),
    ],
)
async def test_body_that_is_no_json_object_says_how_to_send_one(
    client: httpx2.AsyncClient, content: bytes, content_type: str
) -> None:
    response = await client.post("/chat", content=content, headers={"Content-Type": content_type})
    assert response.status_code == 422
    (complaint,) = response.json()["errors"]
    assert complaint["loc"] == ["body"]
    assert "Content-Type: application/json" in complaint["msg"]


async def test_wrong_fields_answer_422_with_a_sentence_and_a_list(
    client: httpx2.AsyncClient,
) -> None:
    response = await client.post("/chat", json={"mesage": "hi", "max_turns": 0})
    assert response.status_code == 422
    assert response.json() == {
        "detail": "message: This field is required; max_turns: Must be at least 1; "
        "mesage: There is no field of this name",
        "errors": [
            {"type": "missing", "loc": ["body", "message"], "msg": "This field is required"},
            {
                "type": "greater_than_equal",
                "loc": ["body", "max_turns"],
                "msg": "Must be at least 1",
            },
            {
                "type": "extra_forbidden",
                "loc": ["body", "mesage"],
                "msg": "There is no field of this name",
            },
        ],
        "code": "invalid_request",
        "request_id": response.headers["x-request-id"],
    }


async def test_field_of_several_types_has_one_complaint_that_names_them_all(
    client: httpx2.AsyncClient,
) -> None:
    body = {"message": "hi", "tools": 3, "connections": ["a", 1], "stream": "yes"}
    response = await client.post("/chat", json=body)
    assert response.status_code == 422
    assert response.json()["detail"] == (
        "tools: Must be an array, or 'none'; connections.1: Must be a string; "
        "stream: Must be true or false"
    )


async def pieces() -> AsyncIterator[bytes]:
    for _ in range(5):
        yield b"x" * 1024 * 1024


@pytest.mark.parametrize("path", ["/chat", "/tools/chat_completion", "/mcp"])
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_oversize_body_answers_413(
    client: httpx2.AsyncClient, path: str, is_streamed: bool
) -> None:
    content = pieces() if is_streamed else b"x" * 5 * 1024 * 1024
    response = await client.post(path, content=content)
    assert response.status_code == 413
    assert response.json() == {
        "detail": "The request body may have at most 4194304 bytes. Send less.",
        "code": "too_large",
        "request_id": response.headers["x-request-id"],
    }


async def test_bug_answers_500_with_nothing_but_the_request_id(
    client: httpx2.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    mocker: MockerFixture,
) -> None:
    def explode() -> None:
        raise RuntimeError("internals")

    mocker.patch("shared.tools.clock.current_server_time", explode)
    response = await client.get("/server_time")
    assert response.status_code == 500
    assert response.json() == {
        "detail": "Internal error. Report the request id to the operator of this service.",
        "code": "internal_error",
        "request_id": response.headers["x-request-id"],
    }
    assert "internals" in caplog.text
    assert response.headers["x-request-id"] in caplog.text


async def preflight(client: httpx2.AsyncClient, path: str, origin: str) -> httpx2.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,mcp-protocol-version",
    }
    return await client.options(path, headers=headers)


async def test_listed_origin_may_call_with_credentials(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(environment | {"CORS_ALLOWED_ORIGINS": ORIGIN})
    response = await preflight(client, "/chat", ORIGIN)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["access-control-allow-credentials"] == "true"
    assert "authorization" in response.headers["access-control-allow-headers"]
    response = await client.get("/tools", headers={"Origin": ORIGIN})
    assert response.headers["access-control-allow-origin"] == ORIGIN
    exposed = response.headers["access-control-expose-headers"].lower().split(", ")
    assert {*EXPOSED} <= {*exposed}
    response = await preflight(client, "/chat", "https://evil.example")
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "DELETE"])
async def test_browser_may_use_every_method_that_a_route_has(
    make_client: MakeClient, environment: dict[str, str], method: str
) -> None:
    client = make_client(environment | {"CORS_ALLOWED_ORIGINS": ORIGIN})
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": method}
    response = await client.options("/keys/ann", headers=headers)
    assert response.status_code == 200, response.text


async def test_any_origin_may_call_without_credentials(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(environment | {"CORS_ALLOWED_ORIGINS": "*"})
    response = await preflight(client, "/chat", ORIGIN)
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers


async def test_mcp_origin_may_call_the_mcp_endpoint_only(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(environment | {"MCP_ALLOWED_ORIGINS": ORIGIN})
    response = await preflight(client, "/mcp", ORIGIN)
    assert response.headers["access-control-allow-origin"] == ORIGIN
    response = await preflight(client, "/chat", ORIGIN)
    assert "access-control-allow-origin" not in response.headers


async def test_error_answers_carry_cors_headers_too(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(environment | {"CORS_ALLOWED_ORIGINS": ORIGIN}, {})
    response = await client.get("/tools", headers={"Origin": ORIGIN})
    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/media", "GET, HEAD, POST"),
        ("/media/x", "DELETE, GET, HEAD"),
        ("/conversations/x", "DELETE, GET, HEAD"),
        ("/chat", "POST"),
        ("/health", "GET, HEAD"),
    ],
)
async def test_wrong_method_is_told_which_ones_there_are(
    client: httpx2.AsyncClient, path: str, allowed: str
) -> None:
    response = await client.request("PATCH", path)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == allowed
    sentence = f"This path does not take PATCH. Send {allowed.replace(', ', ' or ')}."
    assert response.json()["detail"] == sentence


@pytest.mark.parametrize("path", ["/health", "/tools", "/nowhere"])
async def test_head_is_answered_as_get_without_the_body(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level(logging.INFO, "shared")
    whole, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert [json.loads(text.removeprefix("request "))["method"] for text in caplog.messages] == [
        "GET",
        "HEAD",
    ]


@pytest.mark.parametrize(("method", "has_body"), [("GET", True), ("HEAD", False)])
@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("a bug"), 500), (ClientDisconnect(), 503)]
)
async def test_head_gets_no_body_where_the_outermost_layer_answers_either(
    error: Exception, status: int, method: str, has_body: bool
) -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise error

    async def receive() -> Message:
        return {"type": "http.disconnect", "reason": SHUTDOWN_REASON}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    # Without HTTP clients and servers, which leave out bodies by themselves.
    scope = {"type": "http", "method": method, "path": "/health", "headers": []}
    await RequestMiddleware(fail, 60)(scope, receive, send)
    assert sent[0]["status"] == status
    assert bool(b"".join(each["body"] for each in sent[1:])) is has_body


async def test_what_a_server_keeps_of_a_request_needs_no_search_for_garbage() -> None:
    class Cycle:
        """As uvicorn's: it has the scope, and the application gets its methods."""

        def __init__(self) -> None:
            self.scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}

        async def receive(self) -> Message:
            return {"type": "http.request"}

        async def send(self, message: Message) -> None:
            pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    middleware = RequestMiddleware(app, 60)
    gc.disable()
    try:
        cycle = Cycle()
        await middleware(cycle.scope, cycle.receive, cycle.send)
        kept = weakref.ref(cycle)
        del cycle
        assert kept() is None
    finally:
        gc.enable()
