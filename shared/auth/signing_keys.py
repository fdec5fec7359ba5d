"""The keys with which Entra ID signs tokens, as it publishes them.

They are kept as Microsoft advises: for a day, refreshed every hour, and fetched at most every five
minutes because a token names an unknown one. The last set stays while no new one can be fetched.

Source: https://learn.microsoft.com/entra/identity-platform/signing-key-rollover
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from shared.auth.authority import DocumentUnavailable
from shared.deadline import create_detached_task
from shared.errors import SigningKeysUnavailable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

KEPT_SECONDS = 24 * 3600.0
REFRESH_SECONDS = 3600.0
UNKNOWN_KEY_SECONDS = 300.0
"""Between two fetches because of unknown keys: anybody can make up their ids."""

FAILED_SECONDS = 300.0
"""Between two attempts at the hourly refresh."""

RETRY_SECONDS = 5.0
"""Between two fetches while there are no keys at all, so that no token can be checked."""

MAX_KEYS = 1000
MIN_KEY_BITS = 2048

FetchKeys = Callable[[], Awaitable[Mapping[str, Any]]]
"""Returns the JSON Web Key Set (RFC 7517, section 5), or raises `DocumentUnavailable`."""

logger = logging.getLogger(__name__)


class SigningKeys:
    """Signing keys by their ids.

    Args:
        fetch: Fetches the published keys.
        clock: Returns seconds that only grow.
    """

    def __init__(self, fetch: FetchKeys, clock: Callable[[], float] = monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetched_at = -KEPT_SECONDS
        self._tried_at = -KEPT_SECONDS
        self._unknown_at = -KEPT_SECONDS
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> "RSAPublicKey | None":
        """Returns a key, None where none of this id is published.

        Raises:
            SigningKeysUnavailable: There are no keys, and none can be fetched.
        """
        now = self._clock()
        age = now - self._fetched_at
        if age >= KEPT_SECONDS:
            self._keys = {}
        if not self._keys:
            await self._refresh_for_all(now)
        elif key_id not in self._keys:
            await self._refresh_for_unknown(now)
        elif age >= REFRESH_SECONDS and now - self._tried_at >= FAILED_SECONDS:
            # Nobody waits for it: the key that is asked for is here.
            self._start(now)
        return self._keys.get(key_id)

    async def aclose(self) -> None:
        """Ends a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _refresh_for_all(self, now: float) -> None:
        if now - self._tried_at >= RETRY_SECONDS:
            self._start(now)
        await self._finish()
        if not self._keys:
            raise SigningKeysUnavailable

    async def _refresh_for_unknown(self, now: float) -> None:
        if now - self._unknown_at >= UNKNOWN_KEY_SECONDS:
            self._unknown_at = now
            self._start(now)
        await self._finish()

    def _start(self, now: float) -> None:
        """Starts a fetch, unless one is under way."""
        if self._fetching is None:
            self._tried_at = now
            self._fetching = create_detached_task(self._fetch_keys())

    async def _finish(self) -> None:
        """Waits for the fetch that is under way; it goes on where the waiting request ends."""
        if self._fetching is not None:
            await asyncio.shield(self._fetching)

    async def _fetch_keys(self) -> None:
        try:
            published = await self._fetch()
            keys = await asyncio.to_thread(read_keys, published)
        except DocumentUnavailable as error:
            logger.warning("The signing keys of Entra ID cannot be fetched: %s", error)
        else:
            if keys:
                self._keys, self._fetched_at = keys, self._clock()
            else:
                logger.warning("Entra ID publishes no usable signing keys for ENTRA_TENANT_ID")
        finally:
            self._fetching = None


def read_keys(published: Mapping[str, Any]) -> "dict[str, RSAPublicKey]":
    """Returns the keys of a JSON Web Key Set by which tokens can be checked, by their ids."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from jwt import PyJWK, PyJWTError

    rows = published.get("keys")
    keys: dict[str, RSAPublicKey] = {}
    for row in rows[:MAX_KEYS] if isinstance(rows, list) else ():
        if not isinstance(row, Mapping) or row.get("kty") != "RSA" or row.get("use") == "enc":
            continue
        try:
            key = PyJWK(dict(row), algorithm="RS256").key
        except (PyJWTError, ValueError, TypeError):
            continue
        name = row.get("kid")
        if isinstance(name, str) and isinstance(key, RSAPublicKey) and key.key_size >= MIN_KEY_BITS:
            keys[name] = key
    return keys
