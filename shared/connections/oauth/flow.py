"""Authorization by the user, in three requests that may meet three instances.

The browser brings a code, which is parked in the record; whoever started the authorization confirms it
with the characters that the browser was shown, and only then the code is spent.

An authorization's address can be sent to somebody else, whose browser then comes back with a code for
somebody else's account. The characters are shown to that browser alone, and are good for nothing but the
key of whoever started the authorization: a victim would have to hand them over.
"""

import base64
import hashlib
import hmac
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from string import ascii_uppercase, digits
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from shared.background import Background
from shared.connections.config import ConnectionsConfig
from shared.connections.credentials import Secrets
from shared.connections.errors import NotAuthorized, answered_within
from shared.connections.oauth.tokens import Tokens, code_grant, fetch_tokens, with_tokens
from shared.connections.records import (
    CONNECTING_SECONDS,
    ConnectionRecord,
    OAuthClient,
    PendingAuthorization,
    Stored,
    in_seconds,
)
from shared.connections.store import ConnectionStore
from shared.errors import Conflict, GatewayError, InvalidRequest, NotFound
from shared.storage import ObjectChanged, retry_write

STATE_SECONDS = 600
CONFIRM_SECONDS = 600
MAX_TRIES = 5
EXCHANGE_SECONDS = 30.0
MAX_CODE_CHARS = 8192

_CHARACTERS = 8
# Without I, L, O and U, as Crockford's base 32: nothing looks like something else. 40 bits.
_ALPHABET = "".join(sorted({*digits, *ascii_uppercase} - {*"ILOU"}))
_ALIKE = str.maketrans("ILO", "110", " -")


def new_characters() -> str:
    """Returns eight random characters."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_CHARACTERS))


def well_formed(given: str) -> str | None:
    """Returns the characters as they were shown, however they were typed; None if they cannot be any."""
    typed = given.upper().translate(_ALIKE)
    is_possible = len(typed) == _CHARACTERS and all(character in _ALPHABET for character in typed)
    return typed if is_possible else None


class OAuthFlow:
    """Runs authorizations by users.

    Args:
        store: Where connections are.
        config: The settings of connections.
        background: Records failures, even when the caller is cancelled.
    """

    def __init__(
        self, store: ConnectionStore, config: ConnectionsConfig, background: Background
    ) -> None:
        self._store = store
        self._config = config
        self._background = background

    async def begin(
        self, stored_owner: str, connection_id: str, oauth: OAuthClient
    ) -> "AuthorizationRequest":
        """Returns what sends the user to the authorization server.

        Args:
            stored_owner: Whose connection it is.
            connection_id: Which one.
            oauth: How tokens are got.
        """
        state = await self._store.seal_state(stored_owner, connection_id)
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
        return AuthorizationRequest(url, verifier, pending)

    async def park(
        self, state: str, code: str | None, issuer: str | None, error: str | None
    ) -> "Parked":
        """Keeps the code that a browser brought until whoever started the authorization confirms it.

        Args:
            state: Which authorization it is; asked of storage only if it is one of ours.
            code: What tokens are to be had for; None where the user or the server declined.
            issuer: Who answers, where it says so.
            error: Why there is no code.

        Raises:
            NotFound: No such authorization is under way: it is over, too old, or never was.
            NotAuthorized: It was declined, or another server answers.
            StorageUnavailable: Storage does not take it.
        """
        stored = await self._begun(state)
        record = stored.record
        try:
            parked = _checked_code(record, code, issuer, error)
        except NotAuthorized:
            record.status = "authorization_failed"
            record.pending = PendingAuthorization(expires_at=in_seconds(0))
            await self._replace(stored)
            raise
        characters = new_characters()
        kept = await self._store.secrets(stored)
        kept = kept.model_copy(update={"parked_code": parked, "characters": characters})
        record.status = "confirming"
        record.pending = PendingAuthorization(expires_at=in_seconds(CONFIRM_SECONDS))
        await self._replace(stored, kept)
        return Parked(record, characters)

    async def confirm(self, owner: str, connection_id: str, characters: str) -> Stored:
        """Spends a parked code, if the characters are those that the browser was shown.

        Args:
            owner: Who asks.
            connection_id: Which connection.
            characters: Eight characters, as `well_formed` returns them.

        Raises:
            NotFound: The owner has no such connection, or nothing of it waits for being confirmed.
            InvalidRequest: The characters are wrong; after five tries the authorization is over.
            Conflict: Others try at the same time.
            ConnectionTimeout: The token endpoint is too slow.
            GatewayError: The token endpoint gives no token, or storage does not take it.
        """
        stored, kept = await self._unpark(owner, connection_id, characters)
        if (oauth := stored.record.oauth) is None:
            raise _unknown()
        try:
            async with answered_within(EXCHANGE_SECONDS, "The token endpoint"):
                tokens = await fetch_tokens(
                    oauth,
                    kept.client_secret,
                    code_grant(oauth, kept),
                    allow_private=self._config.allow_private,
                )
            return await retry_write(lambda: self._save(stored, kept, tokens))
        except BaseException:
            await self._background.finish(self._mark_failed(stored))
            raise

    async def _begun(self, state: str) -> Stored:
        """Finds the authorization that a browser comes back from."""
        found = await self._store.open_state(state)
        if found is None:
            raise _unknown()
        try:
            stored = await self._store.read(*found)
        except NotFound as error:
            raise _unknown() from error
        pending = stored.record.pending
        if pending is None or stored.record.status != "authorizing":
            raise _unknown()
        if not hmac.compare_digest(pending.state_digest, _digest(state)):
            raise _unknown()
        return stored

    async def _replace(self, stored: Stored, kept: Secrets | None = None) -> Stored:
        """Replaces the record unless it has changed: a state and a code are good once."""
        try:
            return await self._store.replace(stored, kept)
        except ObjectChanged as error:
            raise _unknown() from error

    async def _unpark(
        self, owner: str, connection_id: str, characters: str
    ) -> tuple[Stored, Secrets]:
        """Takes the code out of the record. Every try is written down before it is judged."""
        for _ in range(MAX_TRIES):
            stored = await self._store.read(owner, connection_id)
            pending = stored.record.pending
            if stored.record.status != "confirming" or pending is None:
                raise _unknown()
            kept = await self._store.secrets(stored)
            if kept.parked_code is None:
                raise _unknown()
            is_right = hmac.compare_digest((kept.characters or "").encode(), characters.encode())
            pending.tries += 1
            left = 0 if is_right else MAX_TRIES - pending.tries
            if not is_right and left <= 0:
                stored.record.status = "authorization_failed"
            if is_right:
                # So that housekeeping does not remove the connection while its code is being spent.
                pending.expires_at = max(pending.expires_at, in_seconds(CONNECTING_SECONDS))
            without = kept.model_copy(update={"parked_code": None, "characters": None})
            try:
                stored = await self._store.replace(stored, None if left > 0 else without)
            except ObjectChanged:
                continue
            if is_right:
                return stored, kept
            raise _wrong(left)
        raise Conflict("The connection is being changed concurrently. Retry the request.", 1)

    async def _save(self, stored: Stored, kept: Secrets, tokens: Tokens) -> Stored:
        def change(record: Any) -> None:
            record.status = "connected"
            record.pending = None
            record.oauth.renew_at = tokens.renew_at

        renewed = with_tokens(kept, tokens)
        return await self._store.change(stored.owner, stored.record.id, change, renewed)

    async def _mark_failed(self, stored: Stored) -> None:
        stored.record.status = "authorization_failed"
        # Where this fails, the record still expires.
        with suppress(ObjectChanged, GatewayError):
            await self._store.replace(stored)


@dataclass(frozen=True, slots=True)
class Parked:
    """An authorization that waits for being confirmed.

    Attributes:
        record: The connection.
        characters: What the browser is shown.
    """

    record: ConnectionRecord
    characters: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request to the authorization server, which the user's browser carries (RFC 6749, section 4.1.1).

    Attributes:
        url: Where the user has to go.
        verifier: The code verifier of PKCE, to be kept.
        pending: What the record has to remember.
    """

    url: str = field(repr=False)
    verifier: str = field(repr=False)
    pending: PendingAuthorization


def _checked_code(
    record: ConnectionRecord, code: str | None, issuer: str | None, error: str | None
) -> str:
    if record.oauth is None:
        raise _unknown()
    _check_issuer(record.oauth, issuer)
    if not code:
        raise NotAuthorized(f"The authorization was declined: {_plain(error)}.")
    if len(code) > MAX_CODE_CHARS:
        raise NotAuthorized(f"The code has more than {MAX_CODE_CHARS} characters.")
    return code


def _check_issuer(oauth: OAuthClient, issuer: str | None) -> None:
    # The issuer of endpoints that the caller gave is unknown, and any may be named.
    if oauth.issuer is None or (issuer is None and not oauth.requires_issuer):
        return
    if issuer != oauth.issuer:
        raise NotAuthorized("The answer comes from another authorization server.")


def _unknown() -> NotFound:
    return NotFound("No such authorization is under way: it is over or too old. Connect again.")


def _wrong(left: int) -> InvalidRequest:
    wrong = "These are not the characters that the browser was shown."
    if not left:
        return InvalidRequest.for_field(
            "code", f"{wrong} The authorization is over: connect again."
        )
    tries = "1 more try" if left == 1 else f"{left} more tries"
    return InvalidRequest.for_field(
        "code", f"{wrong} You have {tries} before the authorization is over."
    )


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
