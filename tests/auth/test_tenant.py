"""A tenant that answers late, wrongly or not at all, and what an operator is told of it."""

import asyncio
from typing import Any

import httpx2
import pytest

from shared.auth import EntraConfig, EntraId
from shared.auth.authority import Authority, DocumentUnavailable
from shared.errors import SigningKeysUnavailable
from tests.auth.conftest import KEYS_PATH, METADATA_PATH, Tenant, bearer
from tests.auth.issuer import CLIENT, PUBLIC, TENANT, make_key
from tests.conftest import AUTH, MakeClient


@pytest.mark.parametrize("trouble", ["down", "redirect", "garbage"])
async def test_without_keys_tokens_answer_503_and_keys_work(
    app_client: httpx2.AsyncClient,
    tenant: Tenant,
    trouble: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tenant.trouble = trouble
    for _ in range(3):
        answer = await app_client.get("/me", headers=bearer(tenant.user()))
        assert (answer.status_code, answer.json()["code"]) == (503, "signing_keys_unavailable")
        assert answer.headers["retry-after"] == "5"
    assert tenant.requests == [KEYS_PATH], "one attempt in five seconds, and no redirect followed"
    assert "signing keys of Entra ID cannot be fetched" in caplog.text
    assert (await app_client.get("/me", headers=AUTH)).status_code == 200
    both = {**bearer(tenant.user()), "X-Api-Key": AUTH["Authorization"].removeprefix("Bearer ")}
    assert (await app_client.get("/me", headers=both)).status_code == 200


async def test_tenant_that_never_answers_is_given_up(tenant: Tenant) -> None:
    tenant.trouble = "silent"
    entra = EntraId(config_of(tenant), Authority(allow_private=True, fetch_seconds=0.2))
    try:
        with pytest.raises(SigningKeysUnavailable):
            await entra.authenticator.authenticate(bearer_getter(tenant.user()))
        [problem] = await entra.find_problems()
        assert "did not answer in time" in problem
    finally:
        await entra.aclose()


async def test_many_first_tokens_fetch_the_keys_once(
    app_client: httpx2.AsyncClient, tenant: Tenant
) -> None:
    tokens = [tenant.user() for _ in range(20)]
    answers = await asyncio.gather(
        *(app_client.get("/me", headers=bearer(token)) for token in tokens)
    )
    assert {answer.status_code for answer in answers} == {200}
    assert tenant.requests == [KEYS_PATH]


async def test_keys_may_roll_over_while_people_work(
    app_client: httpx2.AsyncClient, tenant: Tenant
) -> None:
    before = bearer(tenant.user())
    assert (await app_client.get("/me", headers=before)).status_code == 200
    tenant.issuer.keys["second"] = make_key()
    after = bearer(tenant.user("second"))
    assert (await app_client.get("/me", headers=after)).status_code == 200
    assert (await app_client.get("/me", headers=before)).status_code == 200
    tenant.trouble = "down"
    assert (await app_client.get("/me", headers=bearer(tenant.user("second")))).status_code == 200


async def test_address_of_the_keys_is_never_a_private_one_by_https() -> None:
    authority = Authority(allow_private=False)
    try:
        with pytest.raises(DocumentUnavailable, match="ForbiddenAddress"):
            await authority.fetch("https://127.0.0.1:9/keys")
    finally:
        await authority.aclose()


@pytest.mark.parametrize(
    ("metadata", "trouble", "sentence"),
    [
        ({"issuer": "https://sts.example/"}, None, "calls itself https://sts.example/"),
        ({"jwks_uri": "https://keys.example/"}, None, "publishes its keys at https://keys.example"),
        ({}, "down", f"{METADATA_PATH} answered with status 503"),
        ({}, "redirect", f"{METADATA_PATH} answered with status 307"),
    ],
)
async def test_health_names_what_is_wrong_with_the_tenant(
    app_client: httpx2.AsyncClient,
    tenant: Tenant,
    metadata: dict[str, Any],
    trouble: str | None,
    sentence: str,
) -> None:
    admin = bearer(tenant.app(roles=["admin"]))
    fine = await app_client.get("/health?deep=true", headers=admin)
    assert fine.json()["deep"]["entra"] == "ok"
    tenant.metadata, tenant.trouble = metadata, trouble
    health = (await app_client.get("/health?deep=true", headers=admin)).json()
    assert health["status"] == "degraded"
    assert health["deep"]["entra"] == "misconfigured"
    assert sentence in " ".join(health["problems"])


async def test_health_says_why_genuine_tokens_were_refused(
    make_client: MakeClient, entra_environment: dict[str, str], tenant: Tenant
) -> None:
    allowed = "0a1b2c3d-0000-4000-8000-000000000009"
    client = make_client(entra_environment | {"ENTRA_ALLOWED_CLIENTS": allowed}, {})
    v1 = {"ver": "1.0", "iss": f"https://sts.windows.net/{TENANT}/"}
    refused = [
        tenant.user(aud="api://another"),
        tenant.user(**v1),
        tenant.user(azp="0a1b2c3d-0000-4000-8000-000000000008"),
        tenant.user(azp=allowed, scp=None),
    ]
    for token in refused:
        assert (await client.get("/me", headers=bearer(token))).status_code == 401
    admin = bearer(tenant.app(roles=["admin"], azp=allowed))
    problems = " ".join((await client.get("/health?deep=true", headers=admin)).json()["problems"])
    for expected in (
        "'api://another'",
        "requestedAccessTokenVersion",
        "0a1b2c3d-0000-4000-8000-000000000008",
        "neither a scope nor a role",
    ):
        assert expected in problems
    other = bearer(tenant.user(azp=allowed))
    health = (await client.get("/health?deep=true", headers=other)).json()
    assert "entra" not in health["deep"]
    assert "another" not in " ".join(health["problems"])


async def test_health_names_what_is_wrong_with_the_settings(
    make_client: MakeClient, entra_environment: dict[str, str], tenant: Tenant
) -> None:
    changes = {
        "PUBLIC_BASE_URL": "",
        "ENTRA_AUDIENCES": "https://app.example/mcp/",
        "ENTRA_ALLOWED_CLIENTS": "vscode",
    }
    client = make_client(entra_environment | changes, {})
    admin = bearer(tenant.app(roles=["admin"], azp="vscode"))
    problems = " ".join((await client.get("/health?deep=true", headers=admin)).json()["problems"])
    for expected in (
        "Set PUBLIC_BASE_URL",
        "has https://app.example/mcp/, with a slash",
        "ENTRA_ALLOWED_CLIENTS has vscode, which is no client id",
    ):
        assert expected in problems


def config_of(tenant: Tenant) -> EntraConfig:
    """Returns the configuration of an app that accepts the tenant's tokens."""
    return EntraConfig(tenant_id=TENANT, client_id=CLIENT, authority=tenant.origin, own_url=PUBLIC)


def bearer_getter(token: str) -> Any:
    """Returns what reads the headers of a request with a token."""
    return {"authorization": f"Bearer {token}"}.get
