"""An issuer of tokens in Entra's format, with keys of its own."""

import json
from collections.abc import Mapping
from time import time
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
OWNER = "99999999-8888-7777-6666-555555555555"
AUTHORITY = "https://login.example"
PUBLIC = "https://app.example"
VSCODE = "aebc6443-996d-45c2-90f0-388ff96faa56"


def make_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


class Issuer:
    """Signs tokens, and publishes the keys for them.

    Attributes:
        keys: The keys by their ids.
        fetches: How often they were asked for.
        failure: Raised in place of publishing them.
    """

    def __init__(self) -> None:
        self.keys = {"first": make_key()}
        self.fetches = 0
        self.failure: Exception | None = None

    async def publish(self) -> Mapping[str, Any]:
        """Returns the public keys, as Entra publishes them."""
        self.fetches += 1
        if self.failure is not None:
            raise self.failure
        rows = []
        for name, key in self.keys.items():
            row = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
            rows.append({**row, "kid": name, "use": "sig", "x5c": ["ignored"]})
        return {"keys": rows}

    def sign(
        self,
        claims: Mapping[str, Any],
        key_id: str | None = "first",
        algorithm: str = "RS256",
        **headers: Any,
    ) -> str:
        """Returns a token with these claims."""
        named = headers if key_id is None else {"kid": key_id, **headers}
        key = self.keys[key_id or "first"] if algorithm.startswith("RS") else headers.pop("secret")
        named.pop("secret", None)
        return jwt.encode(dict(claims), key, algorithm=algorithm, headers=named)


def delegated(**changes: Any) -> dict[str, Any]:
    """Returns the claims of a token for a user; None takes a claim away."""
    now = int(time())
    claims = {
        "aud": CLIENT,
        "iss": f"{AUTHORITY}/{TENANT}/v2.0",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "azp": VSCODE,
        "oid": OWNER,
        "preferred_username": "alice@example.com",
        "scp": "chat tools",
        "sub": "pairwise-subject",
        "tid": TENANT,
        "uti": uuid4().hex,
        "ver": "2.0",
    }
    return {name: value for name, value in (claims | changes).items() if value is not None}


def app_only(**changes: Any) -> dict[str, Any]:
    """Returns the claims of a token for a program on its own behalf."""
    own = {
        "scp": None,
        "preferred_username": None,
        "idtyp": "app",
        "roles": ["chat", "admin"],
        "sub": OWNER,
    }
    return delegated(**(own | changes))
