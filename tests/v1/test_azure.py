"""Azure OpenAI behind /v1: deployments in place of models, the key's header, the dated API's paths."""

import json

import httpx2
import pytest

from tests.conftest import MakeClient
from tests.v1.conftest import Provider

MODEL, DEPLOYMENT = "gpt-6-luna", "our-chat"


@pytest.fixture
def azure_environment(environment: dict[str, str], provider: Provider) -> dict[str, str]:
    others = {name: value for name, value in environment.items() if "OPENAI" not in name}
    return others | {
        "AZURE_OPENAI_ENDPOINT": provider.base_url.removesuffix("/v1"),
        "AZURE_OPENAI_API_KEY": "azure-key",
        "OPENAI_CHAT_MODEL": MODEL,
        "AZURE_OPENAI_CHAT_DEPLOYMENT": DEPLOYMENT,
        "OPENAI_IMAGE_MODEL": "gpt-image-2.5-flare",
        "AZURE_OPENAI_IMAGE_DEPLOYMENT": "our-pictures-here",
    }


@pytest.mark.parametrize(
    ("asked", "sent"), [(MODEL, DEPLOYMENT), (None, DEPLOYMENT), ("another", "another")]
)
async def test_model_becomes_its_deployment(
    make_client: MakeClient,
    azure_environment: dict[str, str],
    provider: Provider,
    asked: str | None,
    sent: str,
) -> None:
    model = {} if asked is None else {"model": asked}
    await make_client(azure_environment).post("/v1/chat/completions", json={**model, "n": 1})
    (seen,) = provider.upstream.seen
    assert json.loads(seen.body) == {"model": sent, "n": 1}
    assert seen.path == "/openai/v1/chat/completions"
    assert seen.headers["api-key"] == "azure-key"
    assert "authorization" not in seen.headers


async def test_model_of_a_form_becomes_its_deployment_and_the_rest_stays(
    make_client: MakeClient, azure_environment: dict[str, str], provider: Provider
) -> None:
    client = make_client(azure_environment)
    fields = {"prompt": "gpt-image-2.5-flare", "model": "gpt-image-2.5-flare", "n": "1"}
    request = client.build_request(
        "POST", "/v1/images/edits", data=fields, files={"image": ("a.png", b"\x89PNG\r\n")}
    )
    sent = await request.aread()
    await client.send(request)
    (seen,) = provider.upstream.seen
    assert seen.body == sent.replace(
        b'name="model"\r\n\r\ngpt-image-2.5-flare', b'name="model"\r\n\r\nour-pictures-here'
    )
    assert seen.body != sent


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("chat/completions", f"/openai/deployments/{DEPLOYMENT}/chat/completions"),
        ("responses", "/openai/responses"),
    ],
)
async def test_dated_api_has_its_own_paths(
    make_client: MakeClient,
    azure_environment: dict[str, str],
    provider: Provider,
    path: str,
    sent: str,
) -> None:
    dated = azure_environment | {"AZURE_OPENAI_API_VERSION": "2026-04-01"}
    response: httpx2.Response = await make_client(dated).post(f"/v1/{path}", json={"model": MODEL})
    assert response.status_code == 200
    (seen,) = provider.upstream.seen
    assert (seen.path, seen.query) == (sent, "api-version=2026-04-01")


@pytest.mark.parametrize("model", ["a/../b", "..", "a?x=", "a#", "a%2fb", "a\r\nX: y"])
async def test_model_cannot_change_the_path_of_the_dated_api(
    make_client: MakeClient, azure_environment: dict[str, str], provider: Provider, model: str
) -> None:
    dated = azure_environment | {"AZURE_OPENAI_API_VERSION": "2026-04-01"}
    client = make_client(dated)
    response = await client.post("/v1/chat/completions", json={"model": model})
    assert response.status_code == 400
    tool = await client.post("/tools/generate", json={"prompt": "x", "model": model})
    assert tool.status_code == 422
    assert provider.upstream.seen == []
