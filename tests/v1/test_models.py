"""`GET /v1/models`: rows as OpenAI's clients read them."""

import json
from typing import Any

import httpx2
import openai
import pytest

from tests.conftest import KEY, MakeClient, digest
from tests.v1.conftest import Provider
from tests.v1.test_errors import error_of
from tests.v1.upstream import Answer

ROWS = [
    {"id": "gpt-9", "object": "model", "created": 7, "owned_by": "openai", "x_new": {}},
    {"id": "gpt-8", "object": "model", "created": 6, "shutdown_date": "2027-01-14"},
    {"id": "org/model", "object": "model"},
]


@pytest.fixture(autouse=True)
def listing(provider: Provider) -> None:
    provider.upstream.answer = Answer([json.dumps({"object": "list", "data": ROWS}).encode()])


def row(name: str, **fields: Any) -> dict[str, Any]:
    owner = "gateway" if name == "agent" else "compatible"
    return {"id": name, "object": "model", "created": 0, "owned_by": owner, **fields}


async def test_list_has_the_provider_s_models_with_their_ends(gateway: httpx2.AsyncClient) -> None:
    listed = (await gateway.get("/v1/models")).json()
    assert list(listed) == ["object", "data"]
    assert listed["object"] == "list"
    rows = {each["id"]: each for each in listed["data"]}
    assert rows["gpt-9"] == row("gpt-9")
    assert rows["gpt-8"] == row("gpt-8", shutdown_date="2027-01-14")
    assert rows["agent"] == row("agent")
    assert [each["id"] for each in listed["data"]] == sorted(rows)


@pytest.mark.parametrize("name", ["gpt-8", "org/model", "agent"])
async def test_one_model_is_its_row_of_the_list(gateway: httpx2.AsyncClient, name: str) -> None:
    rows = (await gateway.get("/v1/models")).json()["data"]
    found = await gateway.get(f"/v1/models/{name}")
    assert [found.json()] == [each for each in rows if each["id"] == name]


async def test_model_that_is_not_there_is_not_found(gateway: httpx2.AsyncClient) -> None:
    response = await gateway.get("/v1/models/no/such/model")
    error = error_of(response)
    assert (response.status_code, error["type"]) == (404, "invalid_request_error")
    assert "'no/such/model'" in error["message"]


async def test_models_that_a_key_may_not_use_are_not_listed(
    make_client: MakeClient, gateway_environment: dict[str, str]
) -> None:
    keys = {"alice": {"sha256": digest(KEY), "scopes": ["openai"], "models": ["gpt-8"]}}
    settings = gateway_environment | {"MCP_API_KEY": "", "API_KEYS": json.dumps(keys)}
    client = make_client(settings)
    listed = (await client.get("/v1/models")).json()["data"]
    assert [each["id"] for each in listed] == ["gpt-8"]
    assert (await client.get("/v1/models/gpt-9")).status_code == 404


async def test_openai_s_client_reads_the_end_of_a_model(gateway: httpx2.AsyncClient) -> None:
    rows = (await gateway.get("/v1/models")).json()["data"]
    models = [openai.types.Model.model_validate(each) for each in rows]
    assert {model.id: model.to_dict().get("shutdown_date") for model in models}["gpt-8"]
