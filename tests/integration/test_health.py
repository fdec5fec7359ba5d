import re
from datetime import datetime

import httpx2
import pytest

from tests.conftest import AUTH, KEY, MakeClient, StandIn
from tests.unit.malformed import MALFORMED


async def test_working_app_is_healthy(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    response = await make_client(environment | {"BUILD_ID": "abc123"}, {}).get("/health")
    assert response.status_code == 200
    body = response.json()
    assert datetime.fromisoformat(body.pop("timestamp")).tzinfo is not None
    assert body.pop("uptime_seconds") >= 0
    assert body == {
        "status": "healthy",
        "version": "0.1.0",
        "build": "abc123",
        "active_clients": 0,
        "checks": {"auth": True, "openai": True, "storage": True},
        "problems": [],
    }
    assert stand_in.requests() == []


async def test_app_without_keys_is_unhealthy(make_client: MakeClient) -> None:
    response = await make_client({"WEBSITE_SITE_NAME": "app"}, {}).get("/health")
    assert response.status_code == 503
    assert response.json()["status"] == "unhealthy"
    assert response.json()["checks"] == {"auth": False, "openai": False, "storage": False}


async def test_app_without_a_provider_is_degraded(make_client: MakeClient) -> None:
    response = await make_client({"MCP_API_KEY": KEY}, {}).get("/health")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["checks"] == {"auth": True, "openai": False, "storage": True}


@pytest.mark.parametrize(("name", "value"), MALFORMED.items())
async def test_malformed_setting_stops_the_app_and_health_names_it(
    make_client: MakeClient, environment: dict[str, str], name: str, value: str
) -> None:
    client = make_client(environment | {name: value})
    health = await client.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
    (problem,) = health.json()["problems"]
    assert f"The setting {name}" in problem
    for method, path in (("POST", "/chat"), ("GET", "/tools"), ("POST", "/mcp")):
        response = await client.request(method, path)
        assert response.status_code == 503
        assert response.json() == {
            "detail": problem,
            "code": "not_configured",
            "request_id": response.headers["x-request-id"],
        }
    assert (await client.get("/openapi.json")).status_code == 200


async def test_deep_check_asks_the_provider(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    response = await make_client(environment).get("/health?deep=true")
    assert response.json()["deep"] == {"openai": "ok", "storage": "ok"}
    assert [request["path"] for request in stand_in.requests()] == ["/v1/models"]


SECRETS = {
    "MCP_SERVERS": '{"payroll": {"url": "payroll.example"}}',
    "MCP_STDIO_COMMANDS": '{"payroll": "rm -rf"}',
}
"""Malformed settings, whose complaints with a key name the entry."""


@pytest.mark.parametrize("name", SECRETS)
async def test_strangers_are_told_the_setting_and_never_an_entry_or_value(
    make_client: MakeClient, environment: dict[str, str], name: str
) -> None:
    environment |= {name: SECRETS[name]}
    sentence = f"The setting {name} is malformed. GET /health with a key and the app's log say why."
    for headers in ({}, {"X-Api-Key": "a-wrong-key"}):
        client = make_client(environment, headers)
        health, refused = await client.get("/health"), await client.get("/tools")
        assert health.json()["problems"] == [sentence]
        assert (refused.status_code, refused.json()["detail"]) == (503, sentence)
    with_key = make_client(environment)
    (problem,) = (await with_key.get("/health")).json()["problems"]
    assert re.search("alice|bob|payroll", problem)
    assert (await with_key.get("/tools")).json()["detail"] == problem


async def deep(client: httpx2.AsyncClient) -> tuple[int, str, dict[str, str], list[str]]:
    """Status, verdict, codes and sentences of a deep check."""
    response = await client.get("/health?deep=true")
    body = response.json()
    return response.status_code, body["status"], body["deep"], body["problems"]


async def test_deep_check_says_why_the_provider_refuses_this_app(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    stand_in.fault(status=401, message="sk-secret is wrong")
    status, verdict, codes, problems = await deep(make_client(environment))
    assert (status, verdict) == (503, "unhealthy")
    assert codes == {"openai": "provider_credentials", "storage": "ok"}
    host = stand_in.base_url.removeprefix("http://").removesuffix("/v1")
    capabilities = "chat, image, audio, transcription, video"
    assert problems == [
        f"The provider at {host} (for {capabilities}) failed: status 401. The provider refused this "
        "app's credentials with status 401. Check OPENAI_API_KEY."
    ]


async def test_deep_check_asks_again_each_time(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    assert (await deep(client))[:2] == (200, "healthy")
    stand_in.fault(status=500)
    status, _, codes, _ = await deep(client)
    assert (status, codes["openai"]) == (503, "provider_unavailable")


async def test_deep_check_asks_the_providers_of_all_capabilities(
    make_client: MakeClient, environment: dict[str, str], unused_port: int
) -> None:
    dead = f"http://127.0.0.1:{unused_port}/v1"
    status, verdict, codes, problems = await deep(
        make_client(environment | {"OPENAI_IMAGE_BASE_URL": dead})
    )
    assert (status, verdict) == (503, "unhealthy")
    assert codes == {"openai": "provider_unavailable", "storage": "ok"}
    (problem,) = problems
    named = f"The provider at 127.0.0.1:{unused_port} (for image) failed: connection refused. "
    assert problem.startswith(named)


async def test_provider_without_a_list_of_models_answers_all_the_same(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(status=404, message="no such route")
    status, verdict, codes, _ = await deep(client)
    assert (status, verdict, codes["openai"]) == (200, "degraded", "provider_rejected")


async def test_deep_check_says_that_storage_does_not_answer(
    make_client: MakeClient, environment: dict[str, str], unused_port: int
) -> None:
    environment |= {
        "LOCAL_STORAGE_PATH": "",
        "AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=http;AccountName=name;"
        f"AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:{unused_port}/name;",
    }
    status, verdict, codes, problems = await deep(make_client(environment))
    assert (status, verdict) == (503, "unhealthy")
    assert codes["openai"] == "ok"
    assert codes["storage"] in ("storage_unavailable", "deadline_exceeded")
    assert "torage" in problems[0]


async def test_deep_check_of_an_unconfigured_app_says_so(make_client: MakeClient) -> None:
    client = make_client({"MCP_API_KEY": KEY, "WEBSITE_SITE_NAME": "app"})
    response = await client.get("/health?deep=1")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["deep"] == {"openai": "not_configured", "storage": "not_configured"}


async def test_deep_needs_a_boolean(client: object, make_client: MakeClient) -> None:
    response = await make_client({}, AUTH).get("/health?deep=perhaps")
    assert response.status_code == 422
