from datetime import datetime

import pytest

from tests.conftest import AUTH, MakeClient, StandIn
from tests.unit.test_settings import MALFORMED


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


async def test_app_without_keys_and_provider_is_degraded(make_client: MakeClient) -> None:
    response = await make_client({"WEBSITE_SITE_NAME": "app"}, {}).get("/health")
    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert response.json()["checks"] == {"auth": False, "openai": False, "storage": False}


@pytest.mark.parametrize(("name", "value"), MALFORMED.items())
async def test_malformed_setting_stops_the_app_and_health_names_it(
    make_client: MakeClient, environment: dict[str, str], name: str, value: str
) -> None:
    client = make_client(environment | {name: value})
    health = await client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
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


async def test_deep_check_reports_the_providers_error(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    stand_in.fault(status=401, message="sk-secret is wrong")
    response = await make_client(environment).get("/health?deep=true")
    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert response.json()["deep"] == {"openai": "provider_credentials", "storage": "ok"}
    assert "sk-secret" not in response.text


async def test_deep_check_of_an_unconfigured_app_says_so(make_client: MakeClient) -> None:
    client = make_client({"MCP_API_KEY": "k", "WEBSITE_SITE_NAME": "app"}, {"X-Api-Key": "k"})
    response = await client.get("/health?deep=1")
    assert response.json()["deep"] == {"openai": "not_configured", "storage": "not_configured"}


async def test_deep_needs_a_boolean(client: object, make_client: MakeClient) -> None:
    response = await make_client({}, AUTH).get("/health?deep=perhaps")
    assert response.status_code == 422
