"""OpenAI's API from a page of another origin, and requests without a body."""

import httpx2
import pytest

from tests.conftest import AUTH, MakeClient
from tests.v1.conftest import Provider
from tests.v1.test_bytes import CHAT, DONE, FINISH, TEXT
from tests.v1.test_errors import error_of
from tests.v1.upstream import EVENT_STREAM, Answer

ORIGIN = "https://chat.example"
PATHS = [CHAT, "/v1/responses", "/v1/images/edits", "/v1/audio/speech", "/v1/models"]
SDK_HEADERS = (
    "authorization,content-type,idempotency-key,openai-organization,openai-project,"
    "x-stainless-arch,x-stainless-lang,x-stainless-retry-count,x-stainless-runtime"
)
"""Headers that OpenAI's client for JavaScript sends from a browser."""


@pytest.fixture
def browser(make_client: MakeClient, gateway_environment: dict[str, str]) -> httpx2.AsyncClient:
    settings = gateway_environment | {"CORS_ALLOWED_ORIGINS": ORIGIN}
    return make_client(settings, {**AUTH, "Origin": ORIGIN})


@pytest.mark.parametrize("path", PATHS)
async def test_preflight_lets_the_client_of_a_page_through(
    browser: httpx2.AsyncClient, path: str
) -> None:
    asked = {
        "Access-Control-Request-Method": "GET" if path == "/v1/models" else "POST",
        "Access-Control-Request-Headers": SDK_HEADERS,
        # A preflight has none.
        "Authorization": "",
    }
    response = await browser.options(path, headers=asked)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    allowed = response.headers["access-control-allow-headers"].split(",")
    assert {name.strip() for name in allowed} >= set(SDK_HEADERS.split(","))


async def test_page_may_read_answers_streams_and_errors(
    browser: httpx2.AsyncClient, provider: Provider
) -> None:
    body = {"model": "m", "messages": []}
    answers = [await browser.post(CHAT, json=body)]
    provider.upstream.answer = Answer([TEXT, FINISH, DONE], EVENT_STREAM)
    answers.append(await browser.post(CHAT, json=body | {"stream": True}))
    provider.upstream.answer = Answer([b"{}"], status=429)
    answers.append(await browser.post(CHAT, json=body))
    answers.append(await browser.get("/v1/nothing"))
    answers.append(await browser.post(CHAT, json=body, headers={"Authorization": "Bearer wrong"}))
    assert [each.status_code for each in answers] == [200, 200, 429, 404, 401]
    for each in answers:
        assert each.headers["access-control-allow-origin"] == ORIGIN
        exposed = each.headers["access-control-expose-headers"].lower().split(", ")
        told = {"x-request-id", "openai-processing-ms", "retry-after-ms", "x-should-retry"}
        assert told <= set(exposed)


async def test_page_of_another_origin_is_told_nothing(browser: httpx2.AsyncClient) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    response = await browser.options(CHAT, headers=asked)
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/agent", "/v1/models/none", "/v1/files"])
async def test_head_is_answered_as_get_without_the_body(
    gateway: httpx2.AsyncClient, path: str
) -> None:
    whole, head = await gateway.get(path), await gateway.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert head.headers["content-length"] == whole.headers["content-length"]


@pytest.mark.parametrize("path", PATHS)
async def test_options_that_are_no_preflight_are_answered_in_openai_s_format(
    gateway: httpx2.AsyncClient, path: str
) -> None:
    response = await gateway.options(path)
    assert (response.status_code, error_of(response)["type"]) == (405, "invalid_request_error")
    assert response.headers["allow"]
