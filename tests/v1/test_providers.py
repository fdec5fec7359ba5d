"""Several providers side by side, and those to fall back to."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from shared.settings import load_settings
from tests.conftest import KEY, MakeClient, ThreadServer
from tests.v1.conftest import Provider
from tests.v1.test_bytes import CHAT, DONE, FINISH, TEXT
from tests.v1.upstream import EVENT_STREAM, Answer, Upstream


@pytest.fixture
def other() -> Iterator[Provider]:
    upstream = Upstream()
    with ThreadServer(upstream) as server:
        yield Provider(upstream, f"{server.origin}/other")


@pytest.fixture
def environment_of_two(
    gateway_environment: dict[str, str], provider: Provider, other: Provider
) -> dict[str, str]:
    """Settings with two named providers beside the general one, which is the first of them."""
    providers = {
        "first": {
            "base_url": provider.base_url,
            "key_setting": "FIRST_KEY",
            "models": ["gpt-*", "shared"],
            "fallbacks": ["second"],
        },
        "second": {"base_url": other.base_url, "models": ["claude-*", "shared"]},
    }
    return gateway_environment | {"PROVIDERS": json.dumps(providers), "FIRST_KEY": "key-of-first"}


@pytest.fixture
def gateway(make_client: MakeClient, environment_of_two: dict[str, str]) -> httpx2.AsyncClient:
    return make_client(environment_of_two)


async def ask(gateway: httpx2.AsyncClient, model: str, **fields: Any) -> httpx2.Response:
    return await gateway.post(CHAT, json={"model": model, "messages": [], **fields})


@pytest.mark.parametrize(
    ("model", "name", "sent"),
    [
        ("gpt-x", "first", "gpt-x"),
        ("claude-y", "second", "claude-y"),
        ("shared", "first", "shared"),
        ("second/gpt-x", "second", "gpt-x"),
        ("second/org/model", "second", "org/model"),
        ("org/model", "compatible", "org/model"),
        ("gpt-6-luna", "first", "gpt-6-luna"),
    ],
)
async def test_model_is_found_by_its_pattern_or_by_the_provider_s_name(
    gateway: httpx2.AsyncClient,
    provider: Provider,
    other: Provider,
    model: str,
    name: str,
    sent: str,
) -> None:
    response = await ask(gateway, model)
    assert (response.status_code, response.headers["x-provider"]) == (200, name)
    (seen,) = [*provider.upstream.seen, *other.upstream.seen]
    assert json.loads(seen.body)["model"] == sent
    keys = {"first": "Bearer key-of-first", "second": None, "compatible": "Bearer sk-test"}
    assert seen.headers.get("authorization") == keys[name]
    assert seen.path == ("/other/chat/completions" if name == "second" else CHAT)


@pytest.mark.parametrize("status", [401, 429, 500, 503])
async def test_failure_of_a_provider_leads_to_the_next_one(
    gateway: httpx2.AsyncClient, provider: Provider, other: Provider, status: int
) -> None:
    provider.upstream.answer = Answer([b'{"error": {"message": "no"}}'], status=status)
    other.upstream.answer = Answer([b'{"id": "other"}'])
    response = await ask(gateway, "gpt-x")
    assert (response.status_code, response.json()) == (200, {"id": "other"})
    assert response.headers["x-provider"] == "second"
    assert (len(provider.upstream.seen), len(other.upstream.seen)) == (1, 1)


@pytest.mark.parametrize(("status", "asked"), [(401, 1), (429, 1), (500, 0), (503, 0)])
async def test_pictures_are_ordered_elsewhere_only_where_the_first_provider_cannot_bill_them(
    gateway: httpx2.AsyncClient, provider: Provider, other: Provider, status: int, asked: int
) -> None:
    provider.upstream.answer = Answer([b'{"error": {"message": "no"}}'], status=status)
    other.upstream.answer = Answer([b'{"data": []}'])
    body = {"model": "gpt-x", "prompt": "A fox"}
    response = await gateway.post("/v1/images/generations", json=body)
    assert response.status_code == (200 if asked else status)
    assert len(other.upstream.seen) == asked


async def test_failure_of_all_providers_is_that_of_the_last(
    gateway: httpx2.AsyncClient, provider: Provider, other: Provider
) -> None:
    provider.upstream.answer = Answer([b'{"error": {"message": "first"}}'], status=500)
    other.upstream.answer = Answer([b'{"error": {"message": "second"}}'], status=503)
    response = await ask(gateway, "gpt-x")
    assert (response.status_code, response.json()["error"]["message"]) == (503, "second")


async def test_request_that_a_provider_rejects_is_not_sent_to_another(
    gateway: httpx2.AsyncClient, provider: Provider, other: Provider
) -> None:
    provider.upstream.answer = Answer([b'{"error": {"message": "bad"}}'], status=400)
    response = await ask(gateway, "gpt-x")
    assert response.status_code == 400
    assert other.upstream.seen == []


async def test_stream_that_has_begun_is_not_begun_again_elsewhere(
    gateway: httpx2.AsyncClient, provider: Provider, other: Provider
) -> None:
    provider.upstream.answer = Answer([TEXT], EVENT_STREAM, breaks=True)
    other.upstream.answer = Answer([TEXT, FINISH, DONE], EVENT_STREAM)
    response = await ask(gateway, "gpt-x", stream=True)
    assert b"provider_truncated" in response.content
    assert other.upstream.seen == []


async def test_models_of_all_providers_are_listed_by_the_names_that_find_them(
    gateway: httpx2.AsyncClient, provider: Provider, other: Provider
) -> None:
    rows = {"data": [{"id": "gpt-x"}, {"id": "else"}]}
    provider.upstream.answer = Answer([json.dumps(rows).encode()])
    other.upstream.answer = Answer([json.dumps(rows).encode()])
    listed = (await gateway.get("/v1/models")).json()["data"]
    names = {row["id"] for row in listed}
    assert {"gpt-x", "else", "first/else", "second/gpt-x", "second/else"} <= names


@pytest.mark.parametrize(
    ("providers", "problem"),
    [
        ({"a": {"base_url": "https://a.example", "fallbacks": ["b"]}}, "no other entry"),
        ({"a": {"base_url": "https://a.example", "fallbacks": ["a"]}}, "no other entry"),
        ({"a/b": {"base_url": "https://a.example"}}, "name"),
        ({"a": {"base_url": "nowhere"}}, "is not a URL"),
        ({"a": {}}, "is missing"),
        ({"a": {"base_url": "https://a.example", "key_setting": "NO_KEY"}}, "NO_KEY"),
        ({"a": {"base_url": "https://a.example", "kind": "b"}}, "kind"),
    ],
)
def test_malformed_entry_is_named(providers: dict[str, Any], problem: str) -> None:
    settings = load_settings({"MCP_API_KEY": KEY, "PROVIDERS": json.dumps(providers)})
    (sentence,) = settings.problems
    assert sentence.startswith("The setting PROVIDERS")
    assert problem in sentence
