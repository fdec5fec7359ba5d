"""API keys: names and digests from the settings, compared in constant time."""

import hashlib
import hmac
import secrets

from shared.auth.guard import HeaderGetter
from shared.auth.principal import Principal
from shared.errors import Unauthorized
from shared.settings import DEFAULT_SCOPES, MIN_KEY_CHARS, Settings

SHARED_KEY_PRINCIPAL = "default"
"""Principal of the key that MCP_API_KEY or MCP_SERVER_API_KEY holds in plain text."""


def generate_key() -> str:
    """Returns a new random key of 256 bits in URL-safe characters."""
    return secrets.token_urlsafe(32)


class KeyAuthenticator:
    """Recognises callers by API key.

    Args:
        keys: Each principal with the SHA-256 digest of its key, in lower-case hex digits.
        min_chars: Shorter keys are refused, though their digest be configured.
    """

    def __init__(self, keys: list[tuple[str, Principal]], min_chars: int = 1) -> None:
        self._min_chars = min_chars
        self._keys = [(digest.encode(), principal) for digest, principal in keys]

    @classmethod
    def from_settings(cls, settings: Settings, *extra_keys: str) -> "KeyAuthenticator | None":
        """Returns the authenticator for the configured keys, None where there are none.

        Args:
            settings: Where the keys are.
            extra_keys: Further keys in plain text for the shared principal.
        """
        shared_keys = [
            secret.get_secret_value()
            for secret in (settings.auth.mcp_api_key, settings.auth.mcp_server_api_key)
            if secret is not None
        ]
        keys = [
            (_digest(key.encode()), Principal(SHARED_KEY_PRINCIPAL, DEFAULT_SCOPES))
            for key in (*shared_keys, *extra_keys)
        ]
        # Last, because the last match counts: a shared key that has a name too is its owner's.
        keys += [
            (record.sha256, Principal(name, record.scopes))
            for name, record in settings.auth.api_keys.items()
        ]
        return cls(keys, MIN_KEY_CHARS if settings.in_azure else 1) if keys else None

    async def authenticate(self, header: HeaderGetter) -> Principal | None:
        """Returns the principal whose key one of the three headers holds.

        Raises:
            Unauthorized: The headers hold two different keys, and both are valid, or only keys that are
                too short to count here.
        """
        presented = _presented_keys(header)
        # Header values are bytes, read as Latin-1: encoded back, they are what the caller sent.
        digests = [
            _digest(key.encode("latin-1", "replace")).encode()
            for key in presented
            if len(key) >= self._min_chars
        ]
        found = None
        valid: set[bytes] = set()
        for known, principal in self._keys:
            for digest in digests:
                if hmac.compare_digest(known, digest):
                    found = principal
                    valid.add(digest)
        if len(valid) > 1:
            raise Unauthorized("This request carries two different keys: send only one. ")
        if presented and not digests:
            raise Unauthorized(f"Keys of fewer than {self._min_chars} characters do not count. ")
        return found


def _presented_keys(header: HeaderGetter) -> list[str]:
    keys = []
    scheme, _, token = (header("authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        keys.append(token.strip())
    keys += [header("x-api-key") or "", header("x-functions-key") or ""]
    return [key for key in keys if key]


def _digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()
