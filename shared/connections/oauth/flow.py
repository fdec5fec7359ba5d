"""Authorization by the user, in two requests that may meet two instances."""

import asyncio
import base64
import hashlib
import hmac
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from shared.connections.config import ConnectionsConfig
from shared.connections.credentials import Secrets
from shared.connections.errors import NotAuthorized
from shared.connections.oauth.tokens import Tokens, fetch_tokens, open_oauth_client
from shared.connections.records import OAuthClient, PendingAuthorization, Stored, in_seconds
from shared.connections.store import ConnectionStore
from shared.deadline import Deadline
from shared.errors import GatewayError, NotFound
from shared.storage import ObjectChanged, persist

STATE_SECONDS = 600


class OAuthFlow:
    """Begins and ends authorizations.

    Args:
        store: Where connections are.
        config: What the operator decides.
    """

    def __init__(self, store: ConnectionStore, config: ConnectionsConfig) -> None:
        self._store = store
        self._config = config

    def begin(self, stored_owner: str, connection_id: str, oauth: OAuthClient) -> "Beginning":
        """Returns what sends the user to the authorization server.

        Args:
            stored_owner: Whose connection it is.
            connection_id: Which one.
            oauth: How tokens are got.
        """
        state = f"{stored_owner}.{connection_id}.{secrets.token_urlsafe(32)}"
        verifier = secrets.token_urlsafe(64)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": oauth.client_id,
            "redirect_uri": oauth.redirect_uri or "",
            "state": state,
            "code_challenge": challenge.decode().rstrip("="),
            "code_challenge_method": "S256",
            "scope": " ".join(oauth.scopes),
            "resource": oauth.resource or "",
        }
        pending = PendingAuthorization(
            state_digest=_digest(state), expires_at=in_seconds(STATE_SECONDS)
        )
        url = _with_query(oauth.authorization_endpoint or "", query)
        return Beginning(url, verifier, pending)

    async def finish(
        self,
        state: str,
        code: str | None,
        issuer: str | None,
        error: str | None,
        deadline: Deadline,
    ) -> Stored:
        """Ends an authorization with what the browser brought back.

        Args:
            state: Which one it is.
            code: What tokens are to be had for; None where the user or the server declined.
            issuer: Who answers, where it says so.
            error: Why there is no code.
            deadline: Until when.

        Raises:
            NotFound: No such authorization is under way: it is over, too old, or never was.
            NotAuthorized: It was declined, or comes from somebody else.
            DeadlineExceeded: Time is up.
            GatewayError: The token endpoint gives no token, or storage does not take it.
        """
        async with deadline.limit():
            stored = await self._spend(state)
        oauth = stored.record.oauth
        if oauth is None:
            raise _unknown()
        try:
            async with deadline.limit():
                _check_issuer(oauth, issuer)
                if code is None:
                    raise NotAuthorized(f"The authorization was declined: {_plain(error)}.")
                kept = await self._store.secrets(stored)
                tokens = await self._exchange(oauth, kept, code)
                return await persist(lambda: save_tokens(self._store, stored, kept, tokens))
        except BaseException:
            await self._mark_failed(stored)
            raise

    async def tokens_of_client(self, oauth: OAuthClient, client_secret: str | None) -> Tokens:
        """Returns tokens on the client's own behalf."""
        grant = {"grant_type": "client_credentials", "scope": " ".join(oauth.scopes)}
        return await self._fetch(oauth, client_secret, grant)

    async def tokens_by_refresh(
        self, oauth: OAuthClient, client_secret: str | None, refresh_token: str
    ) -> Tokens:
        """Returns the next tokens."""
        grant = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return await self._fetch(oauth, client_secret, grant)

    async def _fetch(
        self, oauth: OAuthClient, client_secret: str | None, grant: dict[str, str]
    ) -> Tokens:
        client = await asyncio.to_thread(
            open_oauth_client, allow_private=self._config.allow_private
        )
        async with client:
            return await fetch_tokens(client, oauth, client_secret, grant)

    async def _spend(self, state: str) -> Stored:
        """Finds the authorization and makes sure that nobody finds it again."""
        owner, _, rest = state.partition(".")
        stored = await self._read(owner, rest.partition(".")[0])
        pending = stored.record.pending
        if pending is None or stored.record.status != "authorizing":
            raise _unknown()
        if not hmac.compare_digest(pending.state_digest, _digest(state)):
            raise _unknown()
        # The end of its time stays, so that it is over then, whatever becomes of us.
        stored.record.pending = PendingAuthorization(expires_at=pending.expires_at)
        try:
            return await self._store.replace(stored)
        except ObjectChanged as error:
            raise _unknown() from error

    async def _read(self, owner: str, connection_id: str) -> Stored:
        try:
            return await self._store.read(owner, connection_id)
        except NotFound as error:
            raise _unknown() from error

    async def _mark_failed(self, stored: Stored) -> None:
        stored.record.status = "authorization_failed"
        # Where that fails, the record is over at the end of its time.
        with suppress(ObjectChanged, GatewayError):
            await self._store.replace(stored)

    async def _exchange(self, oauth: OAuthClient, kept: Secrets, code: str) -> Tokens:
        grant = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": oauth.redirect_uri or "",
            "code_verifier": kept.verifier or "",
        }
        return await self._fetch(oauth, kept.client_secret, grant)


@dataclass(frozen=True, slots=True)
class Beginning:
    """An authorization that is about to begin.

    Attributes:
        url: Where the user has to go.
        verifier: PKCE's secret, to be kept.
        pending: What the record has to remember.
    """

    url: str = field(repr=False)
    verifier: str = field(repr=False)
    pending: PendingAuthorization


async def save_tokens(
    store: ConnectionStore, stored: Stored, kept: Secrets, tokens: Tokens
) -> Stored:
    """Stores new tokens with their connection.

    Raises:
        NotFound: The connection is gone.
    """

    def change(record: Any) -> None:
        record.status = "connected"
        record.pending = None
        record.refreshing_until = None
        record.oauth.renew_at = tokens.renew_at

    renewed = with_tokens(kept, tokens)
    return await store.change(stored.owner, stored.record.id, change, renewed)


def with_tokens(kept: Secrets, tokens: Tokens) -> Secrets:
    """Returns what is secret from now on; the refresh token is the old one where no new one came."""
    return kept.model_copy(
        update={
            "verifier": None,
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token or kept.refresh_token,
        }
    )


def _check_issuer(oauth: OAuthClient, issuer: str | None) -> None:
    # With endpoints that the caller gave nobody knows the issuer, and any may be named.
    if oauth.issuer is None or (issuer is None and not oauth.requires_issuer):
        return
    if issuer != oauth.issuer:
        raise NotAuthorized("The answer comes from another authorization server.")


def _unknown() -> NotFound:
    return NotFound("No such authorization is under way: it is over or too old. Connect again.")


def _digest(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()


def _plain(error: str | None) -> str:
    return (
        error
        if error and error.isascii() and error.isprintable() and len(error) < 65
        else "no code"
    )


def _with_query(url: str, query: dict[str, str]) -> str:
    parts = urlsplit(url)
    added = urlencode({name: value for name, value in query.items() if value})
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, added)))))
