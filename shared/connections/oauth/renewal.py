"""The token of a connection: renewed before it ends, by one instance at a time."""

import asyncio

from shared.background import Background
from shared.connections.config import ConnectionsConfig
from shared.connections.credentials import Secrets
from shared.connections.errors import ConnectionTimeout, NotAuthorized, answered_within
from shared.connections.oauth.tokens import (
    Tokens,
    client_grant,
    fetch_tokens,
    refresh_grant,
    with_tokens,
)
from shared.connections.records import ConnectionRecord, OAuthClient, Stored, now
from shared.connections.store import ConnectionStore
from shared.storage import Lease, ObjectMissing

_ASK_SECONDS = 24.0
_RENEW_SECONDS = 120.0
"""Seconds after which the end of a renewal, by this instance or another one, is not waited for."""


class OAuthTokens:
    """Has the access token of one connection.

    Args:
        store: Stores the connection.
        config: The settings of connections.
        background: Runs a renewal that has begun to its end, even when the caller is cancelled.
        owner: Whose connection it is.
        connection_id: Which one.
    """

    def __init__(
        self,
        store: ConnectionStore,
        config: ConnectionsConfig,
        background: Background,
        owner: str,
        connection_id: str,
    ) -> None:
        self._store = store
        self._config = config
        self._background = background
        self._owner = owner
        self._id = connection_id
        self._known: Tokens | None = None
        self._lock = asyncio.Lock()

    async def token(self, rejected: str | None = None) -> str | None:
        """Returns a token that is good for a while yet, and is not the rejected one.

        Raises:
            NotAuthorized: There is none to be had.
            ConnectionTimeout: The token endpoint is too slow.
            ServerUnavailable: The token endpoint cannot be reached.
            NotFound: The connection is gone.
        """
        async with self._lock:
            if self._known is None or not _is_good(self._known, rejected):
                # Detached: a refresh token may be good for one use, and a caller who disconnects between
                # its use and the storing of the next one would end the connection.
                is_done = await self._background.finish(self._renew(rejected), _RENEW_SECONDS)
                if not is_done or self._known is None:
                    raise ConnectionTimeout(
                        "The token of the connection is not renewed yet. Try again."
                    )
            return self._known.access_token

    async def _renew(self, rejected: str | None) -> None:
        """Takes the stored tokens where they are good, else renews them unless another instance does."""
        while True:
            stored = await self._store.read(self._owner, self._id)
            kept = await self._store.secrets(stored)
            oauth = _usable(stored.record)
            if kept.access_token is not None:
                tokens = Tokens(kept.access_token, kept.refresh_token, oauth.renew_at)
                if _is_good(tokens, rejected):
                    self._known = tokens
                    return
            before = stored.record

            def is_unchanged(record: ConnectionRecord, before: ConnectionRecord = before) -> bool:
                return (record.sealed, record.status) == (before.sealed, before.status)

            try:
                async with self._store.hold(stored, is_unchanged) as held:
                    if isinstance(held, Lease):
                        self._known = await self._fetch(held, stored, oauth, kept)
                        return
            except ObjectMissing:
                # The next look says so.
                continue

    async def _fetch(
        self, lease: Lease[ConnectionRecord], stored: Stored, oauth: OAuthClient, kept: Secrets
    ) -> Tokens:
        try:
            async with answered_within(_ASK_SECONDS, "The token endpoint"):
                tokens = await self._ask(oauth, kept)
        except NotAuthorized:
            lease.finish(status="authorization_failed")
            raise
        lease.finish(
            sealed=await self._store.seal(stored, with_tokens(kept, tokens)),
            status="connected",
            oauth=oauth.model_copy(update={"renew_at": tokens.renew_at}),
        )
        return tokens

    async def _ask(self, oauth: OAuthClient, kept: Secrets) -> Tokens:
        if oauth.grant == "client_credentials":
            grant = client_grant(oauth)
        elif kept.refresh_token is None:
            raise NotAuthorized("The connection's authorization has ended. Connect again.")
        else:
            grant = refresh_grant(kept.refresh_token)
        allow_private = self._config.allow_private
        return await fetch_tokens(oauth, kept.client_secret, grant, allow_private=allow_private)


def _usable(record: ConnectionRecord) -> OAuthClient:
    if record.oauth is None or record.status in ("authorizing", "confirming"):
        raise NotAuthorized("The connection is not authorized yet: open its URL first.")
    # What was refused is refused again; a client of its own may have been put right meanwhile.
    if record.status == "authorization_failed" and record.oauth.grant == "authorization_code":
        raise NotAuthorized("The connection's authorization has ended. Connect again.")
    return record.oauth


def _is_good(tokens: Tokens, rejected: str | None) -> bool:
    is_fresh = tokens.renew_at is None or tokens.renew_at > now()
    return is_fresh and tokens.access_token != rejected
