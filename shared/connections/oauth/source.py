"""The token of a connection: fetched before it ends, by one instance at a time."""

import asyncio
from contextlib import suppress

from shared.connections.credentials import Secrets
from shared.connections.errors import NotAuthorized, ServerUnavailable
from shared.connections.oauth.flow import OAuthFlow, save_tokens
from shared.connections.oauth.tokens import Tokens
from shared.connections.records import ConnectionStore, OAuthClient, Stored, in_seconds, now
from shared.storage import ObjectChanged

LEASE_SECONDS = 30
_POLL_SECONDS = 0.2


class OAuthTokens:
    """Has the access token of one connection.

    Args:
        store: Where the connection is.
        flow: What asks token endpoints.
        owner: Whose connection it is.
        connection_id: Which one.
    """

    def __init__(
        self, store: ConnectionStore, flow: OAuthFlow, owner: str, connection_id: str
    ) -> None:
        self._store = store
        self._flow = flow
        self._owner = owner
        self._id = connection_id
        self._known: Tokens | None = None
        self._renewing: asyncio.Task[Tokens] | None = None
        self._lock = asyncio.Lock()

    async def token(self, rejected: str | None = None) -> str | None:
        """Returns a token that is good for a while yet, and is not the rejected one.

        Raises:
            NotAuthorized: There is none to be had.
            ServerUnavailable: The token endpoint cannot be reached.
            NotFound: The connection is gone.
        """
        async with self._lock:
            if self._known is None or not _is_good(self._known, rejected):
                self._known = await self._fetch(rejected)
            return self._known.access_token

    async def aclose(self) -> None:
        """Lets a token that is being fetched be stored."""
        if self._renewing is not None:
            await asyncio.wait({self._renewing})

    async def _fetch(self, rejected: str | None) -> Tokens:
        while True:
            stored = await self._store.read(self._owner, self._id)
            kept = await self._store.secrets(stored)
            oauth = stored.record.oauth
            if oauth is None or stored.record.status == "authorizing":
                raise NotAuthorized("The connection is not authorized yet: open its URL first.")
            if kept.access_token is not None:
                tokens = Tokens(kept.access_token, kept.refresh_token, oauth.renew_at)
                if _is_good(tokens, rejected):
                    return tokens
            leased = await self._lease(stored)
            if leased is not None:
                # In a task of its own: a refresh token may be good for one use, and a caller who leaves
                # between its use and the storing of the next one would end the connection.
                self._renewing = asyncio.create_task(self._renew(leased, oauth, kept))
                self._renewing.add_done_callback(lambda task: task.cancelled() or task.exception())
                return await asyncio.shield(self._renewing)
            await asyncio.sleep(_POLL_SECONDS)

    async def _lease(self, stored: Stored) -> Stored | None:
        """Takes the right to fetch a token; None while another instance has it."""
        until = stored.record.refreshing_until
        if until is not None and until > now():
            return None
        stored.record.refreshing_until = in_seconds(LEASE_SECONDS)
        try:
            return await self._store.replace(stored)
        except ObjectChanged:
            return None

    async def _renew(self, stored: Stored, oauth: OAuthClient, kept: Secrets) -> Tokens:
        try:
            async with asyncio.timeout(LEASE_SECONDS * 0.8):
                tokens = await self._ask(oauth, kept)
        except TimeoutError as error:
            await self._release(stored, "connected")
            raise ServerUnavailable("The token endpoint is too slow. Try again.") from error
        except NotAuthorized:
            await self._release(stored, "authorization_failed")
            raise
        except BaseException:
            await self._release(stored, "connected")
            raise
        await save_tokens(self._store, stored, kept, tokens)
        return tokens

    async def _ask(self, oauth: OAuthClient, kept: Secrets) -> Tokens:
        if oauth.grant == "client_credentials":
            return await self._flow.tokens_of_client(oauth, kept.client_secret)
        if kept.refresh_token is None:
            raise NotAuthorized("The connection's authorization has ended. Connect again.")
        return await self._flow.tokens_by_refresh(oauth, kept.client_secret, kept.refresh_token)

    async def _release(self, stored: Stored, status: str) -> None:
        stored.record.refreshing_until = None
        if status == "authorization_failed":
            stored.record.status = "authorization_failed"
        with suppress(ObjectChanged):
            await self._store.replace(stored)


def _is_good(tokens: Tokens, rejected: str | None) -> bool:
    is_fresh = tokens.renew_at is None or tokens.renew_at > now()
    return is_fresh and tokens.access_token != rejected
