"""Azure OpenAI in its two dialects, by key and by identity; the identity's library is the real one."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.errors import ProviderCredentials
from shared.openai_service import CompletionRequest, OpenAIService
from shared.settings import load_settings
from tests.conftest import KEY, MakeClient, StandIn, ThreadServer

ASK = CompletionRequest(messages=[{"role": "user", "content": "hi"}])


@pytest.fixture
def azure(stand_in: StandIn) -> dict[str, str]:
    return {
        "MCP_API_KEY": KEY,
        "AZURE_OPENAI_ENDPOINT": stand_in.base_url.removesuffix("/v1"),
        "AZURE_OPENAI_CHAT_DEPLOYMENT": "mine",
    }


async def test_v1_api_takes_the_deployment_as_the_model(
    make_client: MakeClient, azure: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(azure | {"AZURE_OPENAI_API_KEY": "azure-key"})
    response = await client.post("/tools/generate", json={"prompt": "hi"})
    assert response.status_code == 200, response.text
    (request,) = stand_in.requests()
    assert (request["path"], request["query"]) == ("/openai/v1/chat/completions", {})
    assert request["headers"]["authorization"] == "Bearer azure-key"
    assert request["body"]["model"] == "mine"


async def test_dated_api_has_the_deployment_in_its_path(
    make_client: MakeClient, azure: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(
        azure | {"AZURE_OPENAI_API_KEY": "azure-key", "AZURE_OPENAI_API_VERSION": "2025-04-01"}
    )
    response = await client.post("/chat", json={"message": "What is the current server time?"})
    assert "[MCP Server Time]" in response.json()["answer"]
    requests = stand_in.requests()
    assert len(requests) == 2
    for request in requests:
        assert request["path"] == "/openai/deployments/mine/chat/completions"
        assert request["query"] == {"api-version": "2025-04-01"}
        assert request["headers"]["api-key"] == "azure-key"


async def test_models_of_azure_name_the_deployment(
    make_client: MakeClient, azure: dict[str, str]
) -> None:
    client = make_client(azure | {"AZURE_OPENAI_API_KEY": "k", "OPENAI_CHAT_MODEL": "gpt-6-luna"})
    result = (await client.post("/tools/list_supported_models")).json()
    expected: dict[str, Any] = {
        "configured": True,
        "provider": "azure",
        "model": "gpt-6-luna",
        "deployment": "mine",
        "available": True,
        "shutdown_date": None,
        "days_left": None,
        "warning": None,
    }
    assert result["chat"] == expected
    assert result["image"]["deployment"] == "gpt-image-2.5-flare"


class IdentityEndpoint:
    """The token endpoint that App Service and Functions put beside an app with an identity."""

    def __init__(self) -> None:
        self.queries: list[dict[str, str]] = []
        self.status = 200

    async def token(self, request: Request) -> Response:
        self.queries.append(dict(request.query_params))
        token = {
            "access_token": "a-token",
            "expires_on": "4102444800",
            "resource": request.query_params["resource"],
            "token_type": "Bearer",
        }
        return JSONResponse(token if self.status == 200 else {}, status_code=self.status)


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityEndpoint]:
    endpoint = IdentityEndpoint()
    with ThreadServer(Starlette(routes=[Route("/token", endpoint.token)])) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.origin}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "secret")
        yield endpoint


def in_azure(environment: dict[str, str]) -> OpenAIService:
    # In Azure the settings would refuse the test's upstream, which speaks no https.
    settings = load_settings(environment)
    assert settings.problems == ()
    return OpenAIService(settings.model_copy(update={"in_azure": True}))


@pytest.mark.parametrize("api_version", ["", "2025-04-01"])
async def test_without_a_key_the_managed_identity_is_used(
    azure: dict[str, str], stand_in: StandIn, identity: IdentityEndpoint, api_version: str
) -> None:
    service = in_azure(
        azure | {"AZURE_CLIENT_ID": "client-1", "AZURE_OPENAI_API_VERSION": api_version}
    )
    await service.chat.complete(ASK)
    await service.chat.complete(ASK)
    await service.aclose()
    (query,) = identity.queries
    assert query["resource"] == "https://cognitiveservices.azure.com"
    assert query["client_id"] == "client-1"
    for request in stand_in.requests():
        assert request["headers"]["authorization"] == "Bearer a-token"
        assert "api-key" not in request["headers"]


async def test_identity_without_a_token_names_what_to_do(
    azure: dict[str, str], stand_in: StandIn, identity: IdentityEndpoint
) -> None:
    identity.status = 400
    service = in_azure(azure)
    with pytest.raises(ProviderCredentials, match="Cognitive Services OpenAI User"):
        await service.chat.complete(ASK)
    await service.aclose()
    assert stand_in.requests() == []


async def test_identity_that_the_provider_refuses_names_the_role(
    azure: dict[str, str], stand_in: StandIn, identity: IdentityEndpoint
) -> None:
    stand_in.fault(status=403)
    service = in_azure(azure)
    with pytest.raises(ProviderCredentials, match="role assignment"):
        await service.chat.complete(ASK)
    await service.aclose()
