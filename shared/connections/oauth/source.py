"""The token of a connection: fetched before it ends, by one instance at a time."""

import asyncio
import logging
from contextlib import suppress

from shared.connections.credentials import Secrets
from shared.connections.errors import ConnectionTimeout, NotAuthorized
from shared.connections.oauth.flow import OAuthFlow, save_tokens, with_tokens
from shared.connections.oauth.tokens import Tokens
from shared.connections.records import ConnectionRecord, OAuthClient, Stored, in_seconds, now
from shared.connections.store import ConnectionStore
from shared.errors import Conflict, GatewayError, NotFound, StorageUnavailable
from shared.storage import ObjectChanged, retry_write

logger = logging.getLogger(__name__)

LEASE_SECONDS = 30
_ASK_SECONDS = LEASE_SECONDS * 0.8
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
        self._unsaved: tuple[Stored, Secrets, Tokens] | None = None
        self._renewing: asyncio.Task[Tokens] | None = None
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
            if self._unsaved is not None:
                await self._save()
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
            oauth = _usable(stored.record)
            if self._unsaved is not None:
                kept = with_tokens(kept, self._unsaved[2])
            elif kept.access_token is not None:
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
            async with asyncio.timeout(_ASK_SECONDS):
                tokens = await self._ask(oauth, kept)
        except BaseException as error:
            await self._release(stored, has_failed=isinstance(error, NotAuthorized))
            if isinstance(error, TimeoutError):
                raise ConnectionTimeout("The token endpoint is too slow. Try again.") from error
            raise
        self._known = tokens
        self._unsaved = (stored, kept, tokens)
        await self._save()
        return tokens

    async def _ask(self, oauth: OAuthClient, kept: Secrets) -> Tokens:
        if oauth.grant == "client_credentials":
            return await self._flow.tokens_of_client(oauth, kept.client_secret)
        if kept.refresh_token is None:
            raise NotAuthorized("The connection's authorization has ended. Connect again.")
        return await self._flow.tokens_by_refresh(oauth, kept.client_secret, kept.refresh_token)

    async def _save(self) -> None:
        """Stores the newest tokens; where storage fails, they serve and wait until it works again."""
        if self._unsaved is None:
            return
        stored, kept, tokens = self._unsaved
        try:
            await retry_write(lambda: save_tokens(self._store, stored, kept, tokens))
        except (StorageUnavailable, Conflict):
            logger.warning("A new token of a connection could not be stored yet.")
            return
        except NotFound:
            self._unsaved = None
            raise
        self._unsaved = None

    async def _release(self, stored: Stored, *, has_failed: bool) -> None:
        def change(record: ConnectionRecord) -> None:
            record.refreshing_until = None
            if has_failed:
                record.status = "authorization_failed"

        # Where that fails, the lease ends by itself.
        with suppress(GatewayError):
            await self._store.change(stored.owner, stored.record.id, change)


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
