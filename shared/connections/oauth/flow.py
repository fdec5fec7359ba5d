"""Authorization by the user, in two requests that may meet two instances."""

import asyncio
import base64
import hashlib
import hmac
import importlib
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

from shared.connections.config import ConnectionsConfig
from shared.connections.credentials import Secrets
from shared.connections.errors import NotAuthorized
from shared.connections.oauth.tokens import Tokens, fetch_tokens, open_oauth_client
from shared.connections.records import (
    ConnectionStore,
    OAuthClient,
    PendingAuthorization,
    Stored,
    in_seconds,
    now,
)
from shared.errors import InvalidRequest, NotFound
from shared.outbound import check_url
from shared.storage import ObjectChanged

STATE_SECONDS = 600
Grant = Literal["authorization_code", "client_credentials"]


@dataclass(frozen=True, slots=True)
class OAuthWish:
    """What a caller said about OAuth; what is missing is discovered.

    Attributes:
        server_url: The server to be authorized for.
        grant: Whose behalf it is on.
        redirect_uri: Where browsers come back to.
        client_id: The client that the authorization server knows.
        client_secret: Its secret.
        authorization_endpoint: Where users agree.
        token_endpoint: Where tokens come from.
        scopes: What to ask for; empty for what the server wants.
        client_metadata_url: Where this app describes itself with this very ``redirect_uri``; None where
            it does not.
    """

    server_url: str
    grant: Grant
    redirect_uri: str
    client_id: str | None = None
    client_secret: str | None = None
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    scopes: tuple[str, ...] = ()
    client_metadata_url: str | None = None


class OAuthFlow:
    """Begins and ends authorizations.

    Args:
        store: Where connections are.
        config: What the operator decides.
    """

    def __init__(self, store: ConnectionStore, config: ConnectionsConfig) -> None:
        self._store = store
        self._config = config

    async def prepare(self, wish: OAuthWish) -> tuple[OAuthClient, str | None]:
        """Returns how tokens will be got, and the client's secret.

        Raises:
            InvalidRequest: The caller has to say more.
            GatewayError: The server's metadata cannot be had, or says nothing useful.
        """
        for url in filter(None, (wish.authorization_endpoint, wish.token_endpoint)):
            check_url(url, allow_private=self._config.allow_private)
        needs_user = wish.grant == "authorization_code"
        is_explicit = wish.token_endpoint and (wish.authorization_endpoint or not needs_user)
        if is_explicit:
            if wish.client_id is None:
                raise InvalidRequest.for_field(
                    "oauth_client_id", "Needed where the endpoints are given."
                )
            return self._explicit(wish, wish.client_id), wish.client_secret
        return await self._discovered(wish)

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
        self, state: str, code: str | None, issuer: str | None, error: str | None
    ) -> Stored:
        """Ends an authorization with what the browser brought back.

        Args:
            state: Which one it is.
            code: What tokens are to be had for; None where the user or the server declined.
            issuer: Who answers, where it says so.
            error: Why there is no code.

        Raises:
            NotFound: No such authorization is under way: it is over, too old, or never was.
            NotAuthorized: It was declined, or comes from somebody else.
            GatewayError: The token endpoint gives no token.
        """
        stored = await self._spend(state)
        oauth = stored.record.oauth
        if oauth is None:
            raise _unknown()
        try:
            _check_issuer(oauth, issuer)
            if code is None:
                raise NotAuthorized(f"The authorization was declined: {_plain(error)}.")
            kept = await self._store.secrets(stored)
            tokens = await self._exchange(oauth, kept, code)
        except BaseException:
            await self._mark_failed(stored)
            raise
        return await save_tokens(self._store, stored, kept, tokens)

    async def tokens_of_client(self, oauth: OAuthClient, client_secret: str | None) -> Tokens:
        """Returns tokens on the client's own behalf."""
        grant = {"grant_type": "client_credentials", "scope": " ".join(oauth.scopes)}
        client = await self.open_client()
        async with client:
            return await fetch_tokens(client, oauth, client_secret, grant)

    async def tokens_by_refresh(
        self, oauth: OAuthClient, client_secret: str | None, refresh_token: str
    ) -> Tokens:
        """Returns the next tokens; the refresh token is the old one where no new one came."""
        grant = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        client = await self.open_client()
        async with client:
            tokens = await fetch_tokens(client, oauth, client_secret, grant)
        return Tokens(tokens.access_token, tokens.refresh_token or refresh_token, tokens.renew_at)

    async def open_client(self) -> Any:
        """Returns a client for OAuth's requests."""
        return await asyncio.to_thread(open_oauth_client, allow_private=self._config.allow_private)

    async def _spend(self, state: str) -> Stored:
        """Finds the authorization and makes sure that nobody finds it again."""
        owner, _, rest = state.partition(".")
        stored = await self._read(owner, rest.partition(".")[0])
        pending = stored.record.pending
        if pending is None or not hmac.compare_digest(pending.state_digest, _digest(state)):
            raise _unknown()
        stored.record.pending = None
        try:
            stored = await self._store.replace(stored)
        except ObjectChanged as error:
            raise _unknown() from error
        if pending.expires_at < now():
            await self._mark_failed(stored)
            raise _unknown()
        return stored

    async def _read(self, owner: str, connection_id: str) -> Stored:
        try:
            return await self._store.read(owner, connection_id)
        except NotFound as error:
            raise _unknown() from error

    async def _mark_failed(self, stored: Stored) -> None:
        stored.record.status = "authorization_failed"
        with suppress(ObjectChanged):
            await self._store.replace(stored)

    async def _exchange(self, oauth: OAuthClient, kept: Secrets, code: str) -> Tokens:
        grant = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": oauth.redirect_uri or "",
            "code_verifier": kept.verifier or "",
        }
        client = await self.open_client()
        async with client:
            return await fetch_tokens(client, oauth, kept.client_secret, grant)

    def _explicit(self, wish: OAuthWish, client_id: str) -> OAuthClient:
        return OAuthClient(
            grant=wish.grant,
            client_id=client_id,
            authorization_endpoint=wish.authorization_endpoint,
            token_endpoint=wish.token_endpoint or "",
            redirect_uri=wish.redirect_uri,
            scopes=list(wish.scopes),
        )

    async def _discovered(self, wish: OAuthWish) -> tuple[OAuthClient, str | None]:
        sdk = await asyncio.to_thread(importlib.import_module, "shared.connections.oauth.discovery")
        client = await self.open_client()
        async with client:
            found = await sdk.discover(client, wish.server_url)
            client_id, client_secret = wish.client_id, wish.client_secret
            auth_methods = found.auth_methods
            if client_id is None and wish.grant == "client_credentials":
                raise InvalidRequest.for_field(
                    "oauth_client_id", "Needed, with its secret, for client credentials."
                )
            document = wish.client_metadata_url
            if client_id is None and document and found.takes_metadata_documents:
                client_id = document
            elif client_id is None:
                registered = await sdk.register(client, found, wish.redirect_uri)
                client_id, client_secret = registered.client_id, registered.client_secret
                given = registered.token_endpoint_auth_method
                auth_methods = [given] if given else auth_methods
        for url in (found.authorization_endpoint, found.token_endpoint):
            check_url(url, allow_private=self._config.allow_private)
        oauth = OAuthClient(
            grant=wish.grant,
            client_id=client_id,
            authorization_endpoint=found.authorization_endpoint,
            token_endpoint=found.token_endpoint,
            redirect_uri=wish.redirect_uri,
            scopes=list(wish.scopes) or found.scopes,
            resource=found.resource,
            issuer=found.issuer,
            requires_issuer=found.requires_issuer,
            auth_methods=auth_methods,
        )
        return oauth, client_secret


@dataclass(frozen=True, slots=True)
class Beginning:
    """An authorization that is about to begin.

    Attributes:
        url: Where the user has to go.
        verifier: PKCE's secret, to be kept.
        pending: What the record has to remember.
    """

    url: str
    verifier: str
    pending: PendingAuthorization


async def save_tokens(
    store: ConnectionStore, stored: Stored, kept: Secrets, tokens: Tokens
) -> Stored:
    """Stores new tokens with their connection.

    Raises:
        NotFound: The connection is gone.
    """
    secrets_now = kept.model_copy(
        update={
            "verifier": None,
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token or kept.refresh_token,
        }
    )

    def change(record: Any) -> None:
        record.status = "connected"
        record.pending = None
        record.refreshing_until = None
        record.oauth.renew_at = tokens.renew_at

    return await store.change(stored.owner, stored.record.id, change, secrets_now)


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
