"""Tokens of Entra ID: each rule with a token that differs in just that point."""

import asyncio
import base64
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from shared.auth import EntraConfig, Principal
from shared.auth.authority import DocumentUnavailable
from shared.auth.entra import EntraAuthenticator
from shared.auth.signing_keys import (
    KEPT_SECONDS,
    REFRESH_SECONDS,
    RETRY_SECONDS,
    UNKNOWN_KEY_SECONDS,
    SigningKeys,
)
from shared.errors import InvalidToken, SigningKeysUnavailable
from tests.auth.issuer import (
    AUTHORITY,
    CLIENT,
    OWNER,
    PUBLIC,
    TENANT,
    VSCODE,
    Issuer,
    app_only,
    delegated,
    make_key,
)
from tests.waiting import until

OTHER_TENANT = "00000000-2222-3333-4444-555555555555"
CONFIG = EntraConfig(
    tenant_id=TENANT,
    client_id=CLIENT,
    authority=AUTHORITY,
    own_url=PUBLIC,
    further_audiences=frozenset({"https://old.example"}),
)


@pytest.fixture(scope="module")
def issuer_of_module() -> Issuer:
    return Issuer()


@pytest.fixture
def issuer(issuer_of_module: Issuer) -> Issuer:
    issuer_of_module.fetches, issuer_of_module.failure = 0, None
    for name in [*issuer_of_module.keys][1:]:
        del issuer_of_module.keys[name]
    return issuer_of_module


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def tokens(
    issuer: Issuer, config: EntraConfig = CONFIG, clock: Callable[[], float] | None = None
) -> EntraAuthenticator:
    return EntraAuthenticator(config, SigningKeys(issuer.publish, clock or Clock()))


async def read(validator: EntraAuthenticator, token: str) -> Principal | None:
    headers = {"authorization": f"Bearer {token}"}
    return await validator.authenticate(headers.get)


async def test_token_of_a_user_names_a_principal_by_object_id(issuer: Issuer) -> None:
    found = await read(tokens(issuer), issuer.sign(delegated()))
    assert found is not None
    assert found.name == f"entra:{OWNER}"
    assert found.scopes == {"chat", "tools"}
    assert found.display_name == "alice@example.com"


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        (delegated(scp="user_impersonation"), {"chat", "tools", "connections", "openai"}),
        (delegated(scp="chat act-as admin"), {"chat"}),
        (delegated(scp="chat", roles=["admin", "tools"]), {"chat", "admin"}),
        (delegated(scp="else"), set()),
        (app_only(), {"chat", "admin"}),
        (app_only(roles=["else"]), set()),
        (app_only(scp="tools"), {"chat", "admin"}),
    ],
)
async def test_scopes_come_from_consent_and_roles(
    issuer: Issuer, claims: dict[str, Any], scopes: set[str]
) -> None:
    found = await read(tokens(issuer), issuer.sign(claims))
    assert found is not None
    assert found.scopes == scopes


@pytest.mark.parametrize(
    "audience", [CLIENT, f"api://{CLIENT}", PUBLIC, f"{PUBLIC}/mcp", "https://old.example"]
)
async def test_each_audience_of_the_app_is_accepted(issuer: Issuer, audience: str) -> None:
    assert await read(tokens(issuer), issuer.sign(delegated(aud=audience)))


NOW = int(time())
V1 = {"ver": "1.0", "iss": f"https://sts.windows.net/{TENANT}/"}


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        (delegated(aud="00000003-0000-0000-c000-000000000000"), "audience"),
        (delegated(aud=[CLIENT]), "audience"),
        (delegated(aud=f"{CLIENT}/"), "audience"),
        (delegated(aud=None), "form"),
        (delegated(iss=f"{AUTHORITY}/{OTHER_TENANT}/v2.0"), "tenant"),
        (delegated(iss=f"{AUTHORITY}/{TENANT}/v2.0/"), "tenant"),
        (delegated(iss=f"https://evil.example/{TENANT}/v2.0"), "tenant"),
        (delegated(iss=None), "form"),
        (delegated(tid=OTHER_TENANT), "tenant"),
        (delegated(tid=None), "tenant"),
        (delegated(**V1), "version"),
        (delegated(ver="1.0"), "version"),
        (delegated(ver="3.0"), "version"),
        (delegated(ver=None), "version"),
        (delegated(ver=2.0), "version"),
        (delegated(exp=NOW - 120), "expired"),
        (delegated(exp=None), "form"),
        (delegated(exp="never"), "form"),
        (delegated(exp=str(NOW + 36_000)), "not a time"),
        (delegated(exp=10**30), "not a time"),
        (delegated(nbf=NOW + 36_000), "not valid yet"),
        (delegated(scp=None), "neither a scope nor a role"),
        (delegated(scp=" "), "neither a scope nor a role"),
        (app_only(roles=None), "neither a scope nor a role"),
        (app_only(roles="admin"), "neither a scope nor a role"),
        (app_only(roles=[]), "neither a scope nor a role"),
        (delegated(nonce="n"), "id token"),
        (delegated(at_hash="h"), "id token"),
        (delegated(scp=None, azp=None, roles=["admin"]), "id token"),
        (delegated(aud=f"{PUBLIC}/mcp/"), "audience"),
        (delegated(aud=f"{PUBLIC}.evil.example"), "audience"),
        (delegated(aud=7), "audience"),
        (delegated(exp=1e400), "form"),
        (delegated(nbf="soon"), "form"),
        (delegated(oid=None), "oid"),
        (delegated(oid="alice@example.com"), "oid"),
        (delegated(oid=7), "oid"),
    ],
)
async def test_claim_that_is_wrong_keeps_a_token_out(
    issuer: Issuer, claims: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidToken, match=reason) as refused:
        await read(tokens(issuer), issuer.sign(claims))
    assert refused.value.status == 401


async def test_clocks_may_differ_by_a_minute(issuer: Issuer) -> None:
    late = delegated(exp=int(time()) - 30, nbf=int(time()) - 60)
    early = delegated(nbf=int(time()) + 30)
    assert await read(tokens(issuer), issuer.sign(late))
    assert await read(tokens(issuer), issuer.sign(early))


async def test_tokens_of_version_1_are_accepted_where_that_is_on(issuer: Issuer) -> None:
    config = replace(CONFIG, accepts_v1=True, allowed_clients=frozenset({"cli-id"}))
    claims = delegated(**V1, azp=None, appid="cli-id", aud=f"api://{CLIENT}")
    assert await read(tokens(issuer, config), issuer.sign(claims))
    wrong = claims | {"iss": f"{AUTHORITY}/{TENANT}/v2.0"}
    with pytest.raises(InvalidToken, match="version"):
        await read(tokens(issuer, config), issuer.sign(wrong))


async def test_only_allowed_clients_may_call(issuer: Issuer) -> None:
    config = replace(CONFIG, allowed_clients=frozenset({VSCODE}))
    assert await read(tokens(issuer, config), issuer.sign(delegated()))
    assert await read(tokens(issuer, config), issuer.sign(delegated(azp=VSCODE.upper())))
    for other in ("other", "", None, [VSCODE]):
        with pytest.raises(InvalidToken, match="client"):
            await read(tokens(issuer, config), issuer.sign(delegated(azp=other)))


def unsigned(claims: dict[str, Any], **header: Any) -> str:
    parts = [{"typ": "JWT", "kid": "first", **header}, claims]
    encoded = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts
    ]
    return ".".join([*encoded, ""])


async def test_algorithm_is_not_taken_from_the_token(issuer: Issuer) -> None:
    public = issuer.keys["first"].public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head, body, _ = jwt.encode(
        delegated(), "s" * 64, algorithm="HS256", headers={"kid": "first"}
    ).split(".")
    mac = hmac.digest(pem, f"{head}.{body}".encode(), "sha256")
    confused = f"{head}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    attempts = [
        unsigned(delegated(), alg="none"),
        unsigned(delegated(), alg="None"),
        unsigned(delegated(), alg=""),
        unsigned(delegated()),
        unsigned(delegated(), alg="RS256"),
        confused,
        issuer.sign(delegated(), algorithm="RS384"),
        unsigned(delegated(), alg="PS256"),
    ]
    validator = tokens(issuer)
    for token in attempts:
        with pytest.raises(InvalidToken):
            await read(validator, token)


async def test_other_algorithms_are_refused_before_any_key_is_fetched(issuer: Issuer) -> None:
    with pytest.raises(InvalidToken, match="not signed with RS256"):
        await read(tokens(issuer), unsigned(delegated(), alg="none"))
    assert issuer.fetches == 0


async def test_keys_that_a_token_brings_are_not_used(issuer: Issuer) -> None:
    stranger = Issuer()
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(stranger.keys["first"].public_key()))
    validator = tokens(issuer)
    for header in (
        {"jku": "https://evil.example/keys"},
        {"jwk": jwk},
        {"x5u": "https://e.example"},
    ):
        with pytest.raises(InvalidToken, match="signature"):
            await read(validator, stranger.sign(delegated(), **header))
    assert await read(validator, issuer.sign(delegated(), jku="https://evil.example/keys"))
    with pytest.raises(InvalidToken, match=r"malformed|signature"):
        await read(validator, issuer.sign(delegated(), crit=["exp"]))


async def test_token_without_a_known_key_is_refused(issuer: Issuer) -> None:
    validator = tokens(issuer)
    with pytest.raises(InvalidToken, match="does not name"):
        await read(validator, issuer.sign(delegated(), None))
    stranger = Issuer()
    stranger.keys["else"] = make_key()
    with pytest.raises(InvalidToken, match="not one of the tenant"):
        await read(validator, stranger.sign(delegated(), "else"))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_short_and_foreign_keys_do_not_count(issuer: Issuer) -> None:
    issuer.keys["short"] = make_key(1024)
    with pytest.raises(InvalidToken, match="not one of the tenant"):
        await read(tokens(issuer), issuer.sign(delegated(), "short"))


async def test_huge_token_is_refused_unread(issuer: Issuer) -> None:
    token = issuer.sign(delegated(filler="x" * 20_000))
    with pytest.raises(InvalidToken, match="characters"):
        await read(tokens(issuer), token)
    assert issuer.fetches == 0


@pytest.mark.parametrize("value", ["", "Basic x", "Bearer a-key", "Bearer a.b", "Bearer a.b.c.d"])
async def test_what_is_no_token_is_left_to_others(issuer: Issuer, value: str) -> None:
    assert await tokens(issuer).authenticate({"authorization": value}.get) is None
    assert issuer.fetches == 0


async def test_keys_are_fetched_once_for_many_tokens(issuer: Issuer) -> None:
    validator = tokens(issuer)
    for _ in range(10):
        await read(validator, issuer.sign(delegated()))
    assert issuer.fetches == 1


async def test_new_key_is_fetched_for_the_first_token_that_needs_it(issuer: Issuer) -> None:
    validator = tokens(issuer)
    await read(validator, issuer.sign(delegated()))
    issuer.keys["second"] = make_key()
    assert await read(validator, issuer.sign(delegated(), "second"))
    assert await read(validator, issuer.sign(delegated()))
    assert issuer.fetches == 2


async def test_refresh_that_is_under_way_serves_a_token_with_a_new_key_too(issuer: Issuer) -> None:
    clock = Clock()
    published = asyncio.Event()

    async def publish_later() -> Mapping[str, Any]:
        found = await issuer.publish()
        await published.wait()
        return found

    keys = SigningKeys(publish_later, clock)
    published.set()
    assert await keys.find("first")
    published.clear()
    issuer.keys["second"] = make_key()
    clock.now += REFRESH_SECONDS
    assert await keys.find("first")
    finding = asyncio.create_task(keys.find("second"))
    await until(lambda: issuer.fetches == 2)
    published.set()
    assert await finding
    assert issuer.fetches == 2


async def test_ids_of_keys_that_are_made_up_cost_a_fetch_every_five_minutes(issuer: Issuer) -> None:
    clock = Clock()
    validator = tokens(issuer, clock=clock)
    for name in ("made-up", "another", "third"):
        with pytest.raises(InvalidToken, match="not one of the tenant"):
            await read(validator, issuer.sign(delegated(), "first", kid=name))
    assert issuer.fetches == 2
    clock.now += UNKNOWN_KEY_SECONDS
    issuer.keys["second"] = make_key()
    assert await read(validator, issuer.sign(delegated(), "second"))
    assert issuer.fetches == 3


async def test_key_that_is_withdrawn_ends_within_an_hour(issuer: Issuer) -> None:
    clock = Clock()
    keys = SigningKeys(issuer.publish, clock)
    issuer.keys["second"] = make_key()
    assert await keys.find("second")
    del issuer.keys["second"]
    clock.now += REFRESH_SECONDS
    assert await keys.find("second"), "nobody waits for the refresh"
    await until(lambda: issuer.fetches == 2)
    await keys.find("unknown")
    assert await keys.find("second") is None


async def test_last_keys_serve_for_a_day_while_none_can_be_had(issuer: Issuer) -> None:
    clock = Clock()
    keys = SigningKeys(issuer.publish, clock)
    assert await keys.find("first")
    issuer.failure = DocumentUnavailable("down")
    clock.now += KEPT_SECONDS - 1
    assert await keys.find("first")
    clock.now += 1
    with pytest.raises(SigningKeysUnavailable):
        await keys.find("first")
    issuer.failure = None
    clock.now += RETRY_SECONDS
    assert await keys.find("first")


async def test_without_any_keys_nobody_is_let_in_and_the_issuer_not_hammered(
    issuer: Issuer,
) -> None:
    issuer.failure = DocumentUnavailable("down")
    validator = tokens(issuer)
    for _ in range(5):
        with pytest.raises(SigningKeysUnavailable) as refused:
            await read(validator, issuer.sign(delegated()))
        assert refused.value.status == 503
    assert issuer.fetches == 1
