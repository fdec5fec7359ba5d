"""Errors under /v1, in OpenAI's format whoever makes them."""

import json
from typing import Any

import httpx2
import pytest

from tests.conftest import AUTH, KEY, MakeClient, digest
from tests.v1.conftest import Provider
from tests.v1.upstream import Answer

CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": []}


def error_of(response: httpx2.Response) -> dict[str, Any]:
    """Returns the error of a body that holds nothing else."""
    body: dict[str, Any] = response.json()
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert isinstance(error["message"], str)
    return error


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
async def test_no_key_is_an_authentication_error(
    make_client: MakeClient, environment: dict[str, str], headers: dict[str, str]
) -> None:
    client = make_client(environment, headers)
    for path in ("/v1/models", "/v1/nothing"):
        response = await client.get(path)
        assert (response.status_code, error_of(response)["type"]) == (401, "authentication_error")
        assert response.headers["www-authenticate"] == "Bearer"


async def test_key_without_the_scope_is_a_permission_error(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    keys = {"alice": {"sha256": digest("an-own-key-of-alice"), "scopes": ["chat"]}}
    client = make_client(
        environment | {"API_KEYS": json.dumps(keys)},
        {"Authorization": "Bearer an-own-key-of-alice"},
    )
    response = await client.post(CHAT, json=BODY)
    assert (response.status_code, error_of(response)["type"]) == (403, "permission_error")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/v1/files", "/v1/chat/completions/x", CHAT, "/v1/"])
async def test_unknown_route_is_not_found(
    client: httpx2.AsyncClient, method: str, path: str
) -> None:
    response = await client.request(method, path)
    assert (response.status_code, error_of(response)["type"]) == (404, "invalid_request_error")
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "content", "param"),
    [
        (CHAT, b"{", None),
        (CHAT, b"", None),
        (CHAT, b"[]", None),
        (CHAT, b'{"model": 7}', "model"),
        (CHAT, b'{"model": ""}', "model"),
        (CHAT, b'{"model": "m", "stream": true, "stream_options": "x"}', "stream_options"),
        ("/v1/responses", b'{"model": "m", "previous_response_id": "r"}', "previous_response_id"),
        ("/v1/responses", b'{"model": "m", "conversation": "c"}', "conversation"),
        ("/v1/responses", b'{"model": "m", "background": true}', "background"),
    ],
)
async def test_wrong_body_is_an_invalid_request(
    gateway: httpx2.AsyncClient, provider: Provider, path: str, content: bytes, param: str | None
) -> None:
    headers = {"Content-Type": "application/json"}
    response = await gateway.post(path, content=content, headers=headers)
    error = error_of(response)
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["param"] == param
    assert provider.upstream.seen == []


def form(*headers: str) -> bytes:
    """A form whose first part names the model, and whose second one has these headers."""
    honest = 'Content-Disposition: form-data; name="model"'
    parts = [f"--b\r\n{honest}\r\n\r\nm", "--b\r\n" + "\r\n".join(headers) + "\r\n\r\nother"]
    return ("\r\n".join(parts) + "\r\n--b--\r\n").encode()


@pytest.mark.parametrize(
    "headers",
    [
        ('X-A: form-data; name="x"', 'Content-Disposition: form-data; name="model"'),
        ('Content-Disposition: attachment; name="model"',),
        ('Content-Disposition: form-data; name="x"; name="model"',),
        (
            'Content-Disposition: form-data; name="x"',
            'Content-Disposition: form-data; name="model"',
        ),
        ("Content-Disposition: form-data; name*=utf-8''model",),
        ("Content-Disposition: form-data; name=model",),
        ('Content-Disposition:\tform-data; name="model"',),
        ("X-A: b",),
    ],
)
async def test_second_model_cannot_be_hidden_in_a_form(
    gateway: httpx2.AsyncClient, provider: Provider, headers: tuple[str, ...]
) -> None:
    response = await gateway.post(
        "/v1/images/edits",
        content=form(*headers),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert (response.status_code, error_of(response)["type"]) == (400, "invalid_request_error")
    assert provider.upstream.seen == []


async def test_form_has_one_boundary(gateway: httpx2.AsyncClient, provider: Provider) -> None:
    content_type = "multipart/form-data; boundary=b; boundary=c"
    content = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nm\r\n--b--\r\n'
    response = await gateway.post(
        "/v1/images/edits", content=content, headers={"Content-Type": content_type}
    )
    assert response.status_code == 400
    assert provider.upstream.seen == []


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"x", "multipart/form-data"),
        (b"x", "application/json"),
        (b"x", "multipart/form-data; boundary=b"),
        (
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm',
            "multipart/form-data; boundary=b",
        ),
        (b"--b\r\n" * 1000, "multipart/form-data; boundary=b"),
        (b"--b\r\nX: " + b"y" * 10_000 + b"\r\n\r\n", "multipart/form-data; boundary=b"),
    ],
)
async def test_malformed_form_is_an_invalid_request(
    gateway: httpx2.AsyncClient, provider: Provider, content: bytes, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    response = await gateway.post("/v1/images/edits", content=content, headers=headers)
    assert (response.status_code, error_of(response)["type"]) == (400, "invalid_request_error")
    assert provider.upstream.seen == []


async def test_body_over_the_limit_is_too_large(client: httpx2.AsyncClient) -> None:
    response = await client.post(CHAT, content=b"x" * (32 * 1024 * 1024 + 1))
    assert (response.status_code, error_of(response)["code"]) == (413, "too_large")


async def test_provider_that_is_not_configured_is_unavailable(make_client: MakeClient) -> None:
    response = await make_client({"MCP_API_KEY": KEY}).post(CHAT, json=BODY)
    error = error_of(response)
    assert (response.status_code, error["type"], error["code"]) == (
        503,
        "server_error",
        "not_configured",
    )
    assert "OPENAI_API_KEY" in error["message"]


async def test_malformed_setting_is_told_in_openai_s_format(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(environment | {"CHAT_MAX_TURNS": "many"}, AUTH)
    response = await client.post(CHAT, json=BODY)
    assert response.status_code == 503
    assert "CHAT_MAX_TURNS" in error_of(response)["message"]


async def test_error_of_the_provider_comes_as_it_is(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    error = {"message": "bad", "type": "x", "param": "temperature", "code": "y", "extra": [1]}
    body = json.dumps({"error": error}).encode()
    provider.upstream.answer = Answer([body], status=400)
    response = await gateway.post(CHAT, json=BODY)
    assert (response.status_code, response.json()) == (400, {"error": error})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (404, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
@pytest.mark.parametrize("body", [b"<html>proxy</html>", b'[{"error": {}}]', b""])
async def test_error_in_another_format_is_put_into_openai_s(
    gateway: httpx2.AsyncClient, provider: Provider, status: int, kind: str, body: bytes
) -> None:
    provider.upstream.answer = Answer([body], "text/html", status)
    response = await gateway.post(CHAT, json=BODY)
    assert (response.status_code, error_of(response)["type"]) == (status, kind)


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_of_the_app_are_not_the_caller_s(
    gateway: httpx2.AsyncClient, provider: Provider, status: int
) -> None:
    leak = b'{"error": {"message": "Incorrect API key provided: sk-test"}}'
    provider.upstream.answer = Answer([leak], status=status)
    response = await gateway.post(CHAT, json=BODY)
    error = error_of(response)
    assert (response.status_code, error["code"]) == (502, "provider_credentials")
    assert "OPENAI_API_KEY" in error["message"]
    assert "sk-test" not in response.text


async def test_rate_limit_of_the_provider_says_when_to_try_again(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    headers = {"retry-after": "7", "retry-after-ms": "6500", "set-cookie": "a=b"}
    provider.upstream.answer = Answer([b"{}"], status=429, headers=headers)
    response = await gateway.post(CHAT, json=BODY)
    assert response.headers["retry-after"] == "7"
    assert response.headers["retry-after-ms"] == "6500"
    assert "set-cookie" not in response.headers
    assert "x-should-retry" not in response.headers


async def test_spent_quota_is_not_to_be_tried_again(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    body = b'{"error": {"message": "spent", "code": "insufficient_quota"}}'
    provider.upstream.answer = Answer([body], status=429)
    response = await gateway.post(CHAT, json=BODY)
    assert (response.status_code, response.headers["x-should-retry"]) == (429, "false")


async def test_provider_that_is_not_there_is_told(
    make_client: MakeClient, environment: dict[str, str], unused_port: int
) -> None:
    base_url = f"http://127.0.0.1:{unused_port}/v1"
    response = await make_client(environment | {"OPENAI_BASE_URL": base_url}).post(CHAT, json=BODY)
    error = error_of(response)
    assert (response.status_code, error["code"]) == (502, "provider_unavailable")
    assert "cannot be reached" in error["message"]


async def test_redirect_of_the_provider_is_not_followed(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    location = {"location": f"{provider.base_url}/elsewhere"}
    provider.upstream.answer = Answer([b"{}"], status=302, headers=location)
    response = await gateway.post(CHAT, json=BODY)
    assert (response.status_code, error_of(response)["type"]) == (502, "server_error")
    assert len(provider.upstream.seen) == 1


@pytest.mark.parametrize("body", [b'{"id": "x", "choices"', b"no JSON"])
async def test_answer_that_is_no_json_is_the_provider_s_failure(
    gateway: httpx2.AsyncClient, provider: Provider, body: bytes
) -> None:
    provider.upstream.answer = Answer([body])
    response = await gateway.post(CHAT, json=BODY)
    assert (response.status_code, error_of(response)["type"]) == (502, "server_error")


async def test_deadline_that_is_over_is_told(
    make_client: MakeClient, gateway_environment: dict[str, str], provider: Provider
) -> None:
    provider.upstream.answer = Answer([b"{}"], pause=30)
    client = make_client(gateway_environment | {"REQUEST_DEADLINE_SECONDS": "1"})
    response = await client.post(CHAT, json=BODY)
    assert (response.status_code, error_of(response)["code"]) == (504, "deadline_exceeded")
