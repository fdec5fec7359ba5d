"""Headers of requests and answers under /v1, which OpenAI's clients send and go by."""

import json
import re

import httpx2
import pytest

from tests.conftest import KEY, MakeClient, digest
from tests.v1.conftest import Provider
from tests.v1.test_bytes import CHAT, DONE, FINISH, TEXT
from tests.v1.test_errors import error_of
from tests.v1.upstream import EVENT_STREAM, Answer

BODY = {"model": "m", "messages": []}
RATE_LIMITS = {
    f"x-ratelimit-{kind}-{unit}": value
    for kind, value in (("limit", "500"), ("remaining", "499"), ("reset", "120ms"))
    for unit in ("requests", "tokens")
}
DURATION = r"(\d+h)?(\d+m)?\d+m?s"


def limited(environment: dict[str, str], **limits: float) -> dict[str, str]:
    """Returns settings in which the caller has limits, and the model costs a dollar for each token."""
    key = {"sha256": digest(KEY), "scopes": ["openai"], "limits": limits}
    prices = {"m": {"input": 1_000_000, "output": 1_000_000}}
    return environment | {
        "MCP_API_KEY": "",
        "API_KEYS": json.dumps({"alice": key}),
        "PRICES": json.dumps(prices),
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models", 200),
        ("POST", CHAT, 200),
        ("GET", "/v1/models/none", 404),
        ("POST", "/v1/none", 404),
    ],
)
async def test_every_answer_has_an_id_and_its_time(
    gateway: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await gateway.request(method, path, json=BODY if method == "POST" else None)
    assert response.status_code == status
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
    assert response.headers["openai-processing-ms"].isdecimal()
    own = await gateway.request(method, path, headers={"X-Request-Id": "mine.7"})
    assert own.headers["x-request-id"] == "mine.7"


@pytest.mark.parametrize("name", ["openai-processing-ms", "openai-version", *RATE_LIMITS])
@pytest.mark.parametrize("pieces", [[b"{}"], [TEXT, FINISH, DONE]], ids=["plain", "stream"])
async def test_header_of_the_provider_goes_on(
    gateway: httpx2.AsyncClient, provider: Provider, pieces: list[bytes], name: str
) -> None:
    kind = "application/json" if len(pieces) == 1 else EVENT_STREAM
    provider.upstream.answer = Answer(pieces, kind, headers={name: "2020-10-01"})
    response = await gateway.post(CHAT, json=BODY | {"stream": len(pieces) > 1})
    assert response.headers[name] == "2020-10-01"


@pytest.mark.parametrize("name", ["set-cookie", "server", "openai-organization", "x-request-id"])
async def test_header_that_tells_of_our_account_stays_here(
    gateway: httpx2.AsyncClient, provider: Provider, name: str
) -> None:
    provider.upstream.answer = Answer([b"{}"], headers={name: "of-the-provider"})
    response = await gateway.post(CHAT, json=BODY)
    assert "of-the-provider" not in response.headers.values()


@pytest.mark.parametrize(
    "name", ["OpenAI-Organization", "OpenAI-Project", "OpenAI-Beta", "X-Stainless-Lang", "Cookie"]
)
async def test_header_for_openai_itself_changes_nothing_and_stays_here(
    gateway: httpx2.AsyncClient, provider: Provider, name: str
) -> None:
    response = await gateway.post(CHAT, json=BODY, headers={name: "of-the-caller"})
    assert response.status_code == 200
    (seen,) = provider.upstream.seen
    assert "of-the-caller" not in seen.headers.values()


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_our_limits_stand_in_the_headers_in_place_of_the_provider_s(
    make_client: MakeClient,
    gateway_environment: dict[str, str],
    provider: Provider,
    is_streamed: bool,
) -> None:
    settings = limited(gateway_environment, requests_per_day=10, tokens_per_day=100_000)
    pieces = [TEXT, FINISH, DONE] if is_streamed else [b"{}"]
    kind = EVENT_STREAM if is_streamed else "application/json"
    provider.upstream.answer = Answer(pieces, kind, headers=RATE_LIMITS)
    response = await make_client(settings).post(CHAT, json=BODY | {"stream": is_streamed})
    found = {name: response.headers[name] for name in RATE_LIMITS}
    assert found["x-ratelimit-limit-requests"] == "10"
    assert found["x-ratelimit-remaining-requests"] == "9"
    assert found["x-ratelimit-limit-tokens"] == "100000"
    assert found["x-ratelimit-remaining-tokens"] == str(100_000 - 4096)
    for unit in ("requests", "tokens"):
        assert re.fullmatch(DURATION, found[f"x-ratelimit-reset-{unit}"])


async def test_rate_that_is_reached_says_when_to_try_again(
    make_client: MakeClient, gateway_environment: dict[str, str]
) -> None:
    client = make_client(limited(gateway_environment, requests_per_minute=1))
    assert (await client.post(CHAT, json=BODY)).status_code == 200
    refused = await client.post(CHAT, json=BODY)
    assert (refused.status_code, error_of(refused)["type"]) == (429, "rate_limit_error")
    seconds, milliseconds = (
        int(refused.headers[name]) for name in ("retry-after", "retry-after-ms")
    )
    assert 0 < seconds <= 60
    assert 0 < milliseconds <= seconds * 1000
    assert "x-should-retry" not in refused.headers


@pytest.mark.parametrize(
    "limit",
    ["requests_per_day", "tokens_per_day", "tokens_per_month", "usd_per_day", "usd_per_month"],
)
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_budget_that_is_used_up_is_not_to_be_tried_again(
    make_client: MakeClient,
    gateway_environment: dict[str, str],
    provider: Provider,
    limit: str,
    is_streamed: bool,
) -> None:
    client = make_client(limited(gateway_environment, **{limit: 1}))
    body = BODY | {"stream": is_streamed}
    if limit.startswith("requests"):
        await client.post(CHAT, json=BODY)
    reached = len(provider.upstream.seen)
    refused = await client.post(CHAT, json=body)
    error = error_of(refused)
    assert (refused.status_code, error["type"]) == (429, "insufficient_quota")
    assert error["code"] == "insufficient_quota"
    assert limit in error["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert int(refused.headers["retry-after"]) >= 1
    assert len(provider.upstream.seen) == reached
