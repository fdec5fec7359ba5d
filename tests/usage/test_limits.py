"""Limits at the doors: what is refused how, in which order, and what is told of what is left."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import KEY, MakeClient, StandIn, digest
from tests.media.support import png
from tests.waiting import until

OTHER_KEY = "another-key-for-tests-in-azure"  # pragma: allowlist secret
PRICES = {"gpt-6-luna": {"input": 1, "output": 2}, "priced": {"input": 1, "output": 2}}


def with_limits(environment: dict[str, str], **limits: float) -> dict[str, str]:
    keys = {
        "alice": {
            "sha256": digest(KEY),
            "scopes": ["chat", "tools", "openai", "act-as"],
            "limits": limits,
        },
        "bob": digest(OTHER_KEY),
    }
    return environment | {
        "MCP_API_KEY": "",
        "API_KEYS": json.dumps(keys),
        "PRICES": json.dumps(PRICES),
    }


async def generate(client: httpx2.AsyncClient, **headers: str) -> httpx2.Response:
    return await client.post(
        "/tools/generate", json={"prompt": "x", "max_tokens": 50}, headers=headers
    )


def assert_refused(response: httpx2.Response, code: str, limit: str) -> None:
    assert (response.status_code, response.json()["code"]) == (429, code), response.text
    assert limit in response.json()["detail"]
    assert int(response.headers["retry-after"]) >= 1


async def test_requests_of_a_day_are_limited_and_told_in_headers(
    make_client: MakeClient, stored_environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(with_limits(stored_environment, requests_per_day=2))
    left = []
    for _ in range(2):
        response = await generate(client)
        assert response.headers["x-ratelimit-limit-requests"] == "2"
        left.append(response.headers["x-ratelimit-remaining-requests"])
        assert response.headers["x-ratelimit-reset-requests"].endswith("s")
        assert "x-ratelimit-limit-tokens" not in response.headers
    assert left == ["1", "0"]
    assert_refused(await generate(client), "quota_exceeded", "requests_per_day of 2")
    assert len(stand_in.requests()) == 2
    bob = make_client(with_limits(stored_environment), {"Authorization": f"Bearer {OTHER_KEY}"})
    response = await generate(bob)
    assert response.is_success
    assert "x-ratelimit-limit-requests" not in response.headers


async def test_limits_of_the_setting_are_for_all_who_have_none(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(environment | {"LIMITS": '{"requests_per_minute": 1}'})
    assert (await generate(client)).is_success
    assert_refused(await generate(client), "rate_limited", "requests_per_minute of 1")


async def test_what_this_app_refuses_itself_does_not_count(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    settings = with_limits(environment, requests_per_day=1) | {"ALLOWED_MODELS": "gpt-6-luna"}
    client = make_client(settings)
    assert (await client.post("/tools/generate", json={})).status_code == 422
    other = await client.post("/tools/generate", json={"prompt": "x", "model": "gpt-6-sol"})
    assert (other.status_code, other.json()["code"]) == (403, "model_not_allowed")
    assert stand_in.requests() == []
    stand_in.fault(status=400)
    assert (await generate(client)).status_code == 400
    assert_refused(await generate(client), "quota_exceeded", "requests_per_day")


async def test_tokens_count_as_used_and_not_as_estimated_once_they_are_known(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(with_limits(environment, tokens_per_day=200))
    response = await generate(client)
    assert response.headers["x-ratelimit-limit-tokens"] == "200"
    used = (await client.get("/usage")).json()["total"]
    spent = used["input_tokens"] + used["output_tokens"]
    refused = await client.post("/tools/generate", json={"prompt": "x", "max_tokens": 200})
    assert_refused(refused, "quota_exceeded", f"tokens_per_day of 200 has {200 - spent} left")
    assert (await generate(client)).is_success


@pytest.mark.parametrize("limit", ["usd_per_day", "usd_per_month"])
async def test_dollars_are_never_overspent(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn, limit: str
) -> None:
    client = make_client(with_limits(environment, **{limit: 0.001}))
    responses = await asyncio.gather(*(generate(client) for _ in range(30)))
    refused = [response for response in responses if not response.is_success]
    assert refused
    assert_refused(refused[0], "quota_exceeded", limit)
    while (await generate(client)).is_success:
        pass
    spent = (await client.get("/usage")).json()["total"]["cost_usd"]
    assert 0 < spent <= 0.001
    assert len(stand_in.requests()) == (await client.get("/usage")).json()["total"]["requests"]


async def test_price_that_nobody_knows_is_refused_where_dollars_are_limited(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(with_limits(environment, usd_per_day=1, requests_per_day=5))
    body = {"prompt": "x", "model": "nobody-knows"}
    response = await client.post("/tools/generate", json=body)
    assert (response.status_code, response.json()["code"]) == (403, "price_unknown")
    assert "'nobody-knows'" in response.json()["detail"]
    assert "PRICES" in response.json()["detail"]
    assert stand_in.requests() == []
    unlimited = make_client(with_limits(environment), {"Authorization": f"Bearer {OTHER_KEY}"})
    answer = await unlimited.post("/tools/generate", json=body)
    assert answer.is_success
    assert "x-cost-usd" not in answer.headers
    total = (await unlimited.get("/usage")).json()["total"]
    assert (total["cost_usd"], total["unpriced_requests"]) == (None, 1)
    records = (await unlimited.get("/usage/records")).json()["records"]
    assert [each["status"] for each in records] == ["ok"]
    assert total["output_tokens"] == records[0]["output_tokens"] > 0


async def test_requests_at_a_time_are_limited_until_they_end(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(with_limits(environment, parallel=1))
    stand_in.fault(delay=1)
    first = asyncio.create_task(generate(client))
    await until(lambda: stand_in.requests())
    assert_refused(await generate(client), "rate_limited", "parallel of 1")
    assert (await first).is_success
    await until(lambda: generate(client), lambda response: response.is_success)


async def test_limits_of_the_user_and_of_the_key_that_speaks_both_hold(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    settings = with_limits(environment, requests_per_day=3)
    client = make_client(settings | {"LIMITS": '{"requests_per_day": 2}'})
    users = ["carol", "carol", "carol", "dave", "dave"]
    statuses = [(await generate(client, **{"X-User-Id": user})).status_code for user in users]
    assert statuses == [200, 200, 429, 200, 429]
    own = (await client.get("/usage")).json()["total"]
    assert own["requests"] == 0
    me = (await client.get("/me")).json()["limits"]["requests_per_day"]
    assert (me["limit"], me["used"]) == (3, 3)
    assert me["resets_at"] is not None


async def test_chat_is_one_request_whatever_its_tools_cost(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(with_limits(environment, requests_per_day=2))
    stand_in.fault(match={"path": "chat/", "round": 0}, call_tools=["generate", "generate"])
    answer = await client.post("/chat", json={"message": "Of the hill", "tools": ["generate"]})
    assert answer.is_success
    assert answer.headers["x-ratelimit-remaining-requests"] == "1"
    assert len(stand_in.requests()) == 4


async def test_stream_of_a_chat_is_refused_by_status_and_has_the_headers(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(with_limits(environment, requests_per_day=1))
    body = {"message": "Hello", "stream": True}
    first = await client.post("/chat", json=body)
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert first.headers["content-type"].startswith("text/event-stream")
    assert_refused(await client.post("/chat", json=body), "quota_exceeded", "requests_per_day")


async def test_openai_clients_are_told_not_to_repeat_a_spent_quota(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(with_limits(environment, requests_per_day=1))
    messages = [{"role": "user", "content": "Hello"}]
    body: dict[str, Any] = {"model": "gpt-6-luna", "messages": messages, "stream": True}
    first = await client.post("/v1/chat/completions", json=body)
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    second = await client.post("/v1/chat/completions", json=body)
    assert second.status_code == 429
    assert second.json()["error"]["type"] == "insufficient_quota"
    assert second.headers["x-should-retry"] == "false"


async def test_limit_is_a_result_for_mcp_clients_that_says_what_is_reached(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(with_limits(environment, requests_per_day=0))
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "generate", "arguments": {"prompt": "x"}},
    }
    headers = {"Accept": "application/json, text/event-stream"}
    response = await client.post("/mcp", json=message, headers=headers)
    assert "requests_per_day of 0 is reached" in response.text


@pytest.fixture
def broken_ledger(environment: dict[str, str]) -> Path:
    """A file in the place of the ledger's folder: nothing can be stored there until it is removed."""
    broken = Path(environment["LOCAL_STORAGE_PATH"]) / "state" / "usage"
    broken.parent.mkdir(parents=True)
    broken.touch()
    return broken


def mend(broken: Path) -> None:
    broken.unlink()


async def test_without_storage_nothing_is_let_through_uncounted_where_a_limit_applies(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn, broken_ledger: Path
) -> None:
    client = make_client(with_limits(environment, requests_per_day=5))
    response = await generate(client)
    assert (response.status_code, response.json()["code"]) == (503, "storage_unavailable")
    assert stand_in.requests() == []
    mend(broken_ledger)
    assert (await generate(client)).is_success
    total = await until(
        lambda: client.get("/usage"), lambda found: found.is_success and found.json()["total"]
    )
    assert total.json()["total"]["requests"] == 1


async def test_without_storage_calls_go_through_and_are_booked_later_where_no_limit_applies(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn, broken_ledger: Path
) -> None:
    client = make_client(with_limits(environment), {"Authorization": f"Bearer {OTHER_KEY}"})
    for _ in range(3):
        assert (await generate(client)).is_success
    assert (await client.get("/usage")).status_code == 503
    mend(broken_ledger)
    found = await until(lambda: client.get("/usage"), lambda response: response.is_success)
    assert found.json()["total"]["provider_calls"] == len(stand_in.requests()) == 3


@pytest.mark.parametrize(
    "extra",
    [{"n": 100}, {"n": 100.0}, {"n": 10**400}, {"max_tokens": 1e5}, {"max_tokens": "100000"}],
)
async def test_estimate_counts_what_further_parameters_ask_for(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn, extra: dict[str, Any]
) -> None:
    client = make_client(with_limits(environment, tokens_per_day=1000))
    body = {"prompt": "x", "max_tokens": 50, "extra": extra}
    response = await client.post("/tools/generate", json=body)
    assert_refused(response, "quota_exceeded", "tokens_per_day")
    assert stand_in.requests() == []


PICTURE = {"prompt": "A fox", "model": "gpt-image-2.5-flare", "size": "1024x1024"}
DOORS = ["/tools/generate_image", "/v1/images/generations", "/v1/images/edits"]


async def draw(client: httpx2.AsyncClient, path: str, quality: str) -> httpx2.Response:
    fields = {**PICTURE, "quality": quality}
    if path.endswith("edits"):
        pictures = [("image[]", ("a.png", png(), "image/png"))]
        return await client.post(path, data=fields, files=pictures)
    return await client.post(path, json=fields)


@pytest.mark.parametrize("path", DOORS)
async def test_picture_is_estimated_by_its_size_and_quality(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn, path: str
) -> None:
    # A medium square costs 1,056 output tokens of $30 a million; a picture to edit is 1,500 of $8.
    client = make_client(with_limits(environment, usd_per_day=0.045))
    # The model may choose the dearest that there is.
    for quality in ("auto", "high", "max"):
        refused = await draw(client, path, quality)
        assert refused.status_code == 429, refused.text
        assert "name a size and a lower quality" in refused.text
    assert stand_in.requests() == []
    assert (await draw(client, path, "medium")).status_code == 200


@pytest.mark.parametrize("named", [{}, {"model": "gpt-image-2.5-flare"}])
async def test_response_that_may_draw_is_estimated_with_a_picture(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn, named: dict[str, str]
) -> None:
    # The price of the picture is that of a model for pictures: at that of the chat all would fit.
    client = make_client(with_limits(environment, usd_per_day=0.045))
    body = {"model": "gpt-6-luna", "input": "Draw a fox", "max_output_tokens": 50}

    async def respond(**tool: str) -> httpx2.Response:
        tools = [{"type": "image_generation", "size": "1024x1024", **named, **tool}]
        return await client.post("/v1/responses", json={**body, "tools": tools})

    for tool in ({}, {"quality": "high"}, {"quality": "medium", "size": "auto"}):
        refused = await respond(**tool)
        assert refused.status_code == 429, refused.text
    assert stand_in.requests() == []
    assert (await respond(quality="medium")).status_code == 200


async def test_picture_of_a_model_without_a_price_is_not_drawn_for_limited_dollars(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(with_limits(environment, usd_per_day=1000))
    tool = {"type": "image_generation", "model": "nobody-knows"}
    body = {"model": "gpt-6-luna", "input": "Draw a fox", "tools": [tool]}
    refused = await client.post("/v1/responses", json=body)
    assert refused.status_code >= 400
    assert "'gpt-6-luna' with a picture of 'nobody-knows'" in refused.text
    assert stand_in.requests() == []


async def test_each_picture_to_edit_is_estimated(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(with_limits(environment, tokens_per_day=1500 * 3))
    pictures = [("image[]", (f"{number}.png", png(), "image/png")) for number in range(3)]
    fields = {**PICTURE, "quality": "low"}
    refused = await client.post("/v1/images/edits", data=fields, files=pictures)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert stand_in.requests() == []
    assert (await client.post("/v1/images/edits", data=fields, files=pictures[:2])).is_success
