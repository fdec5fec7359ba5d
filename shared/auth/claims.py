"""What the claims of a token say, after its signature and its times were checked.

Sources: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference and
https://learn.microsoft.com/entra/identity-platform/claims-validation
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shared.auth.entra_config import ALL_DEFAULT_SCOPES, EntraConfig
from shared.auth.principal import ENTRA_PREFIX, Principal
from shared.errors import InvalidToken, MisfitToken
from shared.settings import DEFAULT_SCOPES, SCOPES, Limits, Scope

BY_ROLE_ONLY: frozenset[Scope] = frozenset({"act-as", "admin"})
"""Scopes that no consent of a user can give."""

MAX_SHOWN_CHARS = 200
MAX_NAME_CHARS = 256
LAST_SECOND = int(datetime.max.replace(tzinfo=UTC).timestamp())

_GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_TOKEN_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_SCOPES: Mapping[str, Scope] = {scope: scope for scope in SCOPES}
_OF_ID_TOKENS = ("nonce", "at_hash", "c_hash")
"""Claims that id tokens may have, and access tokens never."""


def principal_of_claims(claims: Mapping[str, Any], config: EntraConfig) -> Principal:
    """Returns the principal of a token.

    Args:
        claims: Of a token with a valid signature that has not expired.
        config: Whose tokens are accepted.

    Raises:
        InvalidToken: It is not for this app, or not of this tenant.
    """
    expires = _expiry(claims["exp"])
    client = _check_issuer(claims, config)
    _check_audience(claims, config)
    if any(name in claims for name in _OF_ID_TOKENS):
        raise InvalidToken("it is an id token; send an access token")
    _check_client(client, config)
    owner = claims.get("oid")
    if not isinstance(owner, str) or not _GUID.fullmatch(owner):
        raise InvalidToken("it names nobody: oid is missing")
    delegated, roles = _delegated(claims), _roles(claims)
    if not delegated and not roles:
        raise MisfitToken(
            "it has neither a scope nor a role of this app",
            "Have the client ask for a scope of this app, or assign it an app role.",
        )
    if not delegated and client is None:
        # The roles of a user are in id tokens too, and only access tokens name their client.
        raise InvalidToken("it is an id token; send an access token")
    return Principal(
        f"{ENTRA_PREFIX}{owner.lower()}",
        _scopes(delegated, roles),
        limits=_limits(roles, config),
        expires=expires,
        display_name=_text(claims.get("preferred_username")),
        token_id=_token_id(claims.get("uti")),
    )


def _check_issuer(claims: Mapping[str, Any], config: EntraConfig) -> str | None:
    """Checks that a token is of the tenant, and returns the client that it was issued to."""
    version, issuer = claims.get("ver"), claims["iss"]
    if claims.get("tid") != config.tenant_id or issuer not in (config.issuer, config.v1_issuer):
        raise InvalidToken("it is of another tenant or issuer")
    if version == "2.0" and issuer == config.issuer:
        return _client(claims.get("azp"))
    if version != "1.0" or issuer != config.v1_issuer:
        raise InvalidToken("its version and its issuer do not fit")
    if not config.accepts_v1:
        raise MisfitToken(
            "tokens of version 1.0 are not accepted",
            "Set requestedAccessTokenVersion of the app registration to 2, or ENTRA_ACCEPT_V1_TOKENS "
            "to true.",
        )
    return _client(claims.get("appid"))


def _check_audience(claims: Mapping[str, Any], config: EntraConfig) -> None:
    audience = claims["aud"]
    if not isinstance(audience, str):
        raise InvalidToken("it is for several audiences")
    if audience not in config.audiences:
        shown = ascii(audience[:MAX_SHOWN_CHARS])
        raise MisfitToken(
            "it is for another audience",
            f"Its audience was {shown}: have the client ask for a scope of this app, or, if that is an "
            "identifier URI of this app, add it to ENTRA_AUDIENCES or set PUBLIC_BASE_URL.",
        )


def _check_client(client: str | None, config: EntraConfig) -> None:
    if not config.allowed_clients:
        return
    if client is None or client not in config.allowed_clients:
        shown = ascii(client)[:MAX_SHOWN_CHARS]
        raise MisfitToken(
            "its client may not call this app",
            f"Its client was {shown}: add it to ENTRA_ALLOWED_CLIENTS if it may call.",
        )


def _client(value: object) -> str | None:
    return value.lower() if isinstance(value, str) and value else None


def _delegated(claims: Mapping[str, Any]) -> frozenset[str]:
    """Returns the scopes to which a user has consented; an app on its own behalf has none."""
    names = claims.get("scp")
    if claims.get("idtyp") == "app" or not isinstance(names, str):
        return frozenset()
    return frozenset(names.split())


def _roles(claims: Mapping[str, Any]) -> frozenset[str]:
    listed = claims.get("roles")
    if not isinstance(listed, list):
        return frozenset()
    return frozenset(each for each in listed if isinstance(each, str))


def _scopes(delegated: frozenset[str], roles: frozenset[str]) -> frozenset[Scope]:
    by_role = frozenset(_SCOPES[each] for each in roles if each in _SCOPES)
    if not delegated:
        return by_role
    consented = frozenset(_SCOPES[each] for each in delegated if each in _SCOPES)
    if ALL_DEFAULT_SCOPES in delegated:
        consented |= DEFAULT_SCOPES
    # Of the roles of a user only those count that no consent can give.
    return (consented - BY_ROLE_ONLY) | (by_role & BY_ROLE_ONLY)


def _limits(roles: frozenset[str], config: EntraConfig) -> Limits | None:
    return next((limits for role, limits in config.role_limits.items() if role in roles), None)


def _expiry(seconds: object) -> str:
    # Text is a number for the library, too, and a number may be beyond the end of the calendar.
    if not isinstance(seconds, int) or seconds > LAST_SECOND:
        raise InvalidToken("its exp is not a time")
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _text(value: object) -> str | None:
    return value[:MAX_NAME_CHARS] if isinstance(value, str) and value.isprintable() else None


def _token_id(value: object) -> str | None:
    return value if isinstance(value, str) and _TOKEN_ID.fullmatch(value) else None
