"""Tokens, and the requests to token endpoints. `renewal.py` says when a token is renewed."""

import asyncio
import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from shared.connections.client.answers import check_values
from shared.connections.credentials import Secrets
from shared.connections.errors import ConnectionTimeout, NotAuthorized, ServerUnavailable
from shared.connections.records import OAuthClient, in_seconds
from shared.outbound import open_client

if TYPE_CHECKING:
    import httpx2

MAX_ANSWER_BYTES = 256 * 1024
MAX_ANSWER_VALUES = 5000
"""Maximum bytes and values of an answer, which is parsed on the event loop."""

MAX_TOKEN_CHARS = 16 * 1024

EARLY_SECONDS = 60.0
"""Seconds before its end at which a token is renewed."""

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_TIMEOUT_SECONDS = 20.0
_LONGEST_SECONDS = 365 * 24 * 3600.0
_REFUSALS = frozenset({"invalid_grant", "invalid_client", "unauthorized_client"})
_POST, _BASIC, _NONE = "client_secret_post", "client_secret_basic", "none"


class _TokenAnswer(BaseModel):
    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - no password
    expires_in: float | None = None
    refresh_token: str | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a token endpoint gave.

    Attributes:
        access_token: For the server.
        refresh_token: For the next token; None where there is none.
        renew_at: When the access token is to be replaced; None where its end is unknown.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    renew_at: datetime | None


def with_tokens(kept: Secrets, tokens: Tokens) -> Secrets:
    """Returns the secrets with new tokens; the refresh token stays where no new one came."""
    return kept.model_copy(
        update={
            "verifier": None,
            "parked_code": None,
            "characters": None,
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token or kept.refresh_token,
        }
    )


def open_oauth_client(*, allow_private: bool) -> "httpx2.AsyncClient":
    """Makes the client for discovery, registration and tokens."""
    return open_client(
        allow_private=allow_private,
        read_timeout=_TIMEOUT_SECONDS,
        headers={"Accept": "application/json"},
        max_body_bytes=MAX_ANSWER_BYTES,
    )


async def send(client: "httpx2.AsyncClient", request: "httpx2.Request") -> "httpx2.Response":
    """Sends a request and returns the answer, if it is cheap to parse.

    Raises:
        AnswerTooLarge: It is too long, or holds too many values.
    """
    response = await client.send(request)
    await check_values(response.content, MAX_ANSWER_VALUES)
    return response


@contextmanager
def oauth_errors(what: str) -> Iterator[None]:
    """Turns failures of the network into ours.

    Raises:
        ConnectionTimeout: In place of the HTTP library's timeouts.
        ServerUnavailable: In place of what else it raises.
    """
    import httpx2

    try:
        yield
    except httpx2.TimeoutException as error:
        raise ConnectionTimeout(f"The {what} did not answer in time. Try again.") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ServerUnavailable(f"The {what} cannot be reached. Try again.") from error


def code_grant(oauth: OAuthClient, kept: Secrets) -> dict[str, str]:
    """Returns the grant of a user who agreed: the parked code."""
    return {
        "grant_type": "authorization_code",
        "code": kept.parked_code or "",
        "redirect_uri": oauth.redirect_uri or "",
        "code_verifier": kept.verifier or "",
    }


def client_grant(oauth: OAuthClient) -> dict[str, str]:
    """Returns the grant of the client's own behalf."""
    return {"grant_type": "client_credentials", "scope": " ".join(oauth.scopes)}


def refresh_grant(refresh_token: str) -> dict[str, str]:
    """Returns the grant of a refresh token."""
    return {"grant_type": "refresh_token", "refresh_token": refresh_token}


async def fetch_tokens(
    oauth: OAuthClient, client_secret: str | None, grant: Mapping[str, str], *, allow_private: bool
) -> Tokens:
    """Asks the token endpoint for tokens.

    Args:
        oauth: The OAuth client, which names the endpoint.
        client_secret: Proves who asks; None for a public client.
        grant: Form fields of the grant; empty ones are left out.
        allow_private: Whether private addresses may be called.

    Raises:
        NotAuthorized: The endpoint refuses the grant or the client.
        ConnectionTimeout: It does not answer in time.
        ServerUnavailable: It cannot be reached, fails, or answers unreadably.
    """
    form = {name: value for name, value in grant.items() if value}
    if oauth.resource:
        form["resource"] = oauth.resource
    client = await asyncio.to_thread(open_oauth_client, allow_private=allow_private)
    async with client:
        with oauth_errors("token endpoint"):
            for method in _methods(oauth, client_secret):
                response = await _post(client, oauth, client_secret, form, method)
                if not _says(response, "invalid_client"):
                    break
    if response.status_code != 200:
        raise _refused(response)
    try:
        answer = _TokenAnswer.model_validate_json(response.content)
    except ValidationError as error:
        raise ServerUnavailable("The token endpoint answered with no token.") from error
    if not all(map(_is_token, (answer.access_token, answer.refresh_token or "x"))):
        raise ServerUnavailable(
            "The token endpoint gave a token that is not visible ASCII characters, "
            f"{MAX_TOKEN_CHARS} at most."
        )
    if answer.token_type.lower() != "bearer":
        raise ServerUnavailable("The token endpoint gave a token that is no bearer token.")
    return Tokens(answer.access_token, answer.refresh_token, _renew_at(answer.expires_in))


def _is_token(text: str) -> bool:
    return len(text) <= MAX_TOKEN_CHARS and _VISIBLE.fullmatch(text) is not None


def _renew_at(lifetime: float | None) -> datetime | None:
    if lifetime is None or not isfinite(lifetime):
        return None
    lifetime = min(max(lifetime, 0), _LONGEST_SECONDS)
    return in_seconds(max(lifetime - EARLY_SECONDS, lifetime / 2))


async def _post(
    client: "httpx2.AsyncClient",
    oauth: OAuthClient,
    client_secret: str | None,
    form: Mapping[str, str],
    method: str,
) -> "httpx2.Response":
    headers = {}
    proof = {"client_id": oauth.client_id}
    if method == _BASIC:
        pair = f"{quote(oauth.client_id, safe='')}:{quote(client_secret or '', safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        proof = {}
    elif method == _POST:
        proof["client_secret"] = client_secret or ""
    url = oauth.token_endpoint
    request = client.build_request("POST", url, data={**form, **proof}, headers=headers)
    return await send(client, request)


def _methods(oauth: OAuthClient, client_secret: str | None) -> list[str]:
    """Returns the ways to prove who we are, the best first.

    Where the server has not said which it knows, both are tried: a client that is refused has spent
    nothing.
    """
    if client_secret is None:
        return [_NONE]
    return [method for method in oauth.auth_methods if method in (_BASIC, _POST)] or [_BASIC, _POST]


def _says(response: "httpx2.Response", code: str) -> bool:
    return response.status_code in (400, 401) and _error_of(response) == code


def _error_of(response: "httpx2.Response") -> str | None:
    try:
        body: Any = response.json()
    except ValueError:
        return None
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, str) else None


def _refused(response: "httpx2.Response") -> Exception:
    reason = _error_of(response)
    if response.status_code < 500 and reason in _REFUSALS:
        # Only the code: descriptions may quote what was sent.
        return NotAuthorized(f"The authorization server gave no token: {reason}. Connect again.")
    # Whatever else stands before the endpoint, or is wrong with it for a while, has not refused us.
    known = f" ({reason})" if reason and reason.isascii() and len(reason) <= 64 else ""
    return ServerUnavailable(
        f"The token endpoint failed with status {response.status_code}{known}. Try again."
    )
