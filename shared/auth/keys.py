"""API keys: how one is found by what a request presents, and those of the settings."""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from shared.auth.guard import HeaderGetter
from shared.auth.principal import Principal
from shared.errors import Unauthorized
from shared.key_text import digest_key
from shared.settings import DEFAULT_SCOPES, MIN_KEY_CHARS, KeyGrant, Scope, Settings

SHARED_KEY_PRINCIPAL = "default"
"""Principal of the key that MCP_API_KEY or MCP_SERVER_API_KEY holds in plain text."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Key:
    """A key that lets its principal in.

    Attributes:
        principal: Whose it is.
        ends_at: When it ends; None: never.
    """

    principal: Principal
    ends_at: datetime | None = None


def principal_of(name: str, grant: KeyGrant) -> Principal:
    """Returns the principal of a key."""
    models = () if grant.models is None else (grant.models,)
    return Principal(name, grant.scopes, models=models, limits=grant.limits, expires=grant.expires)


class Keyring:
    """Keys by digest, and principals by name.

    Args:
        keys: Each key with its SHA-256 digest, in lower-case hex digits; of equal ones the last counts.
        principals: Principals by name, whose keys may have ended.
    """

    def __init__(
        self,
        keys: Iterable[tuple[str, Key]] = (),
        principals: Mapping[str, Principal] | None = None,
    ) -> None:
        # Where a digest is looked for depends on a secret, so that the time it takes tells nothing of
        # the digests that are there.
        self._secret = secrets.token_bytes(32)
        self._keys = {self._place(digest): (digest.encode(), key) for digest, key in keys}
        self.principals = principals or {}

    def __bool__(self) -> bool:
        """Returns whether there is any key."""
        return bool(self._keys)

    def find(self, digest: str) -> Key | None:
        """Returns the key of a digest, None where there is none; it may have ended."""
        found = self._keys.get(self._place(digest))
        if found is None or not hmac.compare_digest(found[0], digest.encode()):
            return None
        return found[1]

    def _place(self, digest: str) -> bytes:
        return hashlib.blake2b(digest.encode(), key=self._secret, digest_size=16).digest()


class KeySource(Protocol):
    """Keys that are not in the settings."""

    @property
    def known(self) -> Keyring | None:
        """The keys as they were read last; None where they are not known, or too old."""
        ...

    async def keyring(self) -> Keyring:
        """Returns the keys, which may be some seconds old.

        Raises:
            StorageUnavailable: They cannot be read.
        """
        ...


class KeyAuthenticator:
    """Authenticates callers by API key: those of the settings first, which wait for nothing.

    Args:
        settings: Where the keys are, and how long they must be.
        stored: Further keys; None for none.
        extra_keys: Further keys in plain text for the shared principal, with the scope ``admin`` too.
        is_foreign: Tells what another authenticator may know, so that it does not wait for stored keys.
        clock: Tells the time.
    """

    def __init__(
        self,
        settings: Settings,
        stored: KeySource | None = None,
        extra_keys: Iterable[str] = (),
        is_foreign: Callable[[str], bool] = lambda key: False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._min_chars = MIN_KEY_CHARS if settings.in_azure else 1
        self._keyring = _keyring_of(settings, extra_keys)
        self._stored = stored
        self._is_foreign = is_foreign
        self._clock = clock
        self._expired: set[str] = set()

    async def is_configured(self) -> bool:
        """Returns whether there is any key; without one in the settings, stored keys are looked for.

        Raises:
            StorageUnavailable: They cannot be read.
        """
        if self._keyring:
            return True
        return self._stored is not None and bool(await self._stored.keyring())

    async def authenticate(self, header: HeaderGetter) -> Principal | None:
        """Returns the principal whose key one of the three headers holds.

        Raises:
            StorageUnavailable: The settings have no such key, and stored keys cannot be read.
            Unauthorized: The headers hold two different keys, and both are valid, or only keys that have
                ended or that are too short to count here.
        """
        presented = _presented_keys(header)
        # Header values are bytes, read as Latin-1: encoded back, they are what the caller sent.
        digests = {
            digest_key(key.encode("latin-1", "replace"))
            for key in presented
            if len(key) >= self._min_chars
        }
        waits = not all(map(self._is_foreign, presented))
        keys = await self._find(digests, waits=waits)
        now = self._clock()
        valid = [key for key in keys if key.ends_at is None or key.ends_at > now]
        if len(valid) > 1:
            raise Unauthorized("This request carries two different keys: send only one. ")
        if valid:
            return valid[0].principal
        if keys:
            self._note_expired(keys[0].principal.name)
            raise Unauthorized("This key has expired. ")
        if presented and not digests and await self.is_configured():
            raise Unauthorized(f"Keys of fewer than {self._min_chars} characters do not count. ")
        return None

    async def find_principal(self, name: str) -> Principal | None:
        """Returns the principal of the keys of a name, None where no key has that name.

        Raises:
            StorageUnavailable: The settings have no such name, and stored keys cannot be read.
        """
        if name in self._keyring.principals:
            return self._keyring.principals[name]
        if self._stored is None:
            return None
        return (await self._stored.keyring()).principals.get(name)

    async def _find(self, digests: set[str], *, waits: bool) -> list[Key]:
        found = {digest: self._keyring.find(digest) for digest in digests}
        unknown = [digest for digest, key in found.items() if key is None]
        if self._stored is not None and unknown:
            # Who has a key of the settings does not wait for those in storage.
            waits = waits and len(unknown) == len(found)
            stored = await self._stored.keyring() if waits else self._stored.known
            if stored is not None:
                found |= {digest: stored.find(digest) for digest in unknown}
        return [key for key in found.values() if key is not None]

    def _note_expired(self, name: str) -> None:
        # Once, because whoever holds such a key may go on for ever.
        if name not in self._expired:
            self._expired.add(name)
            logger.warning("A key of %s is used that has expired.", name)


def _keyring_of(settings: Settings, extra_keys: Iterable[str]) -> Keyring:
    auth = settings.auth
    keys: list[tuple[str, Key]] = []
    principals: dict[str, Principal] = {}

    def share(key: str, *more: Scope) -> None:
        principal = Principal(SHARED_KEY_PRINCIPAL, DEFAULT_SCOPES | {*more})
        principals[principal.name] = principal
        keys.append((digest_key(key.encode()), Key(principal)))

    for secret in (auth.mcp_api_key, auth.mcp_server_api_key):
        if secret is not None:
            share(secret.get_secret_value())
    for key in extra_keys:
        share(key, "admin")
    # Last, because the last of equal ones counts: a shared key that has a name too is its owner's.
    for name, entry in auth.api_keys.entries.items():
        principal = principals[name] = principal_of(name, entry)
        keys += [(digest, Key(principal, entry.ends_at)) for digest in entry.sha256]
    return Keyring(keys, principals)


def _presented_keys(header: HeaderGetter) -> list[str]:
    keys = []
    scheme, _, token = (header("authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        keys.append(token.strip())
    keys += [header("x-api-key") or "", header("x-functions-key") or ""]
    return [key for key in keys if key]
