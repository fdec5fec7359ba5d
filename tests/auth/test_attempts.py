"""Attempts to come in with tokens that are not for this app, at a door of a whole app."""

import base64
import hmac
import json
import random
from collections.abc import Iterator
from time import time

import httpx2
import jwt
from cryptography.hazmat.primitives import serialization

from tests.auth.conftest import Tenant, bearer
from tests.auth.issuer import TENANT, Issuer, delegated

OTHER_TENANT = "00000000-2222-3333-4444-555555555555"
MUTATIONS = 5000
ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ "{}'


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def attempts(tenant: Tenant) -> Iterator[tuple[str, str]]:
    """Yields tokens with which somebody may try to come in."""
    now = int(time())
    good = tenant.user()
    head, body, signature = good.split(".")
    header = {"alg": "RS256", "typ": "JWT", "kid": "first"}
    yield "another audience", tenant.user(aud="00000003-0000-0000-c000-000000000000")
    yield "another tenant", tenant.user(tid=OTHER_TENANT)
    issuer = f"{tenant.origin}/{OTHER_TENANT}/v2.0"
    yield "another issuer", tenant.user(tid=OTHER_TENANT, iss=issuer)
    yield "id token", tenant.user(scp=None, nonce="n", azp=None)
    yield "id token with roles", tenant.user(scp=None, azp=None, roles=["admin", "tools"])
    yield "version 1", tenant.user(ver="1.0", iss=f"https://sts.windows.net/{TENANT}/")
    yield "program without a role", tenant.app(roles=[])
    yield "expired by a minute and a bit", tenant.user(exp=now - 65)
    yield "not valid yet", tenant.user(nbf=now + 600)
    yield "huge", tenant.user(filler="x" * 20_000)
    yield "alg none", f"{encoded(header | {'alg': 'none'})}.{body}."
    yield "alg none with its signature", f"{encoded(header | {'alg': 'none'})}.{body}.{signature}"
    pem = tenant.issuer.keys["first"].public_key()
    secret = pem.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    confused = encoded(header | {"alg": "HS256"})
    mac = hmac.digest(secret, f"{confused}.{body}".encode(), "sha256")
    yield (
        "HS256 with the public key",
        f"{confused}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
    )
    stranger = Issuer()
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(stranger.keys["first"].public_key()))
    claims = delegated(iss=f"{tenant.origin}/{TENANT}/v2.0")
    yield "own key", stranger.sign(claims)
    yield "own key at jku", stranger.sign(claims, jku="https://evil.example/keys")
    yield "own key in jwk", stranger.sign(claims, jwk=jwk)
    changed = encoded(claims | {"oid": "0a1b2c3d-0000-4000-8000-000000000001"})
    yield "another person", f"{head}.{changed}.{signature}"
    deep = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 6000).rstrip(b"=").decode()
    yield "deep header", f"{deep}.{body}.{signature}"
    long = base64.urlsafe_b64encode(b'{"alg":' + b"9" * 6000 + b"}").rstrip(b"=").decode()
    yield "long number", f"{long}.{body}.{signature}"
    yield "header that is cut", f"eyJh.{body}.{signature}"
    yield "no key id", tenant.issuer.sign(claims, None)
    yield "key id that is a list", f"{encoded(header | {'kid': ['first']})}.{body}.{signature}"
    yield "critical header", tenant.issuer.sign(claims, crit=["b64"], b64=False)


async def test_no_attempt_comes_in(app_client: httpx2.AsyncClient, tenant: Tenant) -> None:
    assert (await app_client.get("/me", headers=bearer(tenant.user()))).status_code == 200
    answered: dict[str, int] = {}
    for name, token in attempts(tenant):
        answer = await app_client.get("/me", headers=bearer(token))
        answered[name] = answer.status_code
    assert answered == dict.fromkeys(answered, 401)
    assert len(answered) > 20


async def test_principal_never_comes_from_an_address(
    app_client: httpx2.AsyncClient, tenant: Tenant
) -> None:
    token = tenant.user(oid=None, email="alice@example.com", upn="alice@example.com")
    assert (await app_client.get("/me", headers=bearer(token))).status_code == 401
    for header in ({"X-Api-Key": tenant.user()}, {"x-functions-key": tenant.user()}):
        assert (await app_client.get("/me", headers=header)).status_code == 401
    assert (await app_client.get(f"/me?access_token={tenant.user()}")).status_code == 401


async def test_mutated_tokens_are_refused_one_and_all(
    app_client: httpx2.AsyncClient, tenant: Tenant
) -> None:
    token = tenant.user()
    assert (await app_client.get("/me", headers=bearer(token))).status_code == 200
    chance = random.Random(7)  # noqa: S311  # So that a failure can be repeated.
    statuses: dict[int, int] = {}
    for _ in range(MUTATIONS):
        mutated = mutate(token, chance)
        answer = await app_client.get("/me", headers=bearer(mutated))
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
    assert statuses == {401: MUTATIONS}


def mutate(token: str, chance: random.Random) -> str:
    """Returns a token that differs in one to three places, and not in bits that nobody reads."""
    # The last character of a signature has bits that no byte is made of.
    end = len(token) - 1
    mutated = token
    while mutated == token or mutated.strip() == token:
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(end)
            letter = chance.choice(ALPHABET)
            kind = chance.randrange(3)
            if kind == 0:
                mutated = mutated[:place] + letter + mutated[place + 1 :]
            elif kind == 1:
                mutated = mutated[:place] + mutated[place + 1 :]
            else:
                mutated = mutated[:place] + letter + mutated[place:]
    return mutated
