"""Encryption of credentials at rest: AES-256-GCM, bound to the record and the addresses they go to."""

import asyncio
import base64
import hashlib
import os
import re
import uuid
from collections.abc import Sequence
from contextlib import suppress

from pydantic import BaseModel

from shared.connections.config import ConnectionsConfig
from shared.errors import NotConfigured
from shared.storage import ObjectStore, SharedKey

KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = "v1"
_IDS_PURPOSE = b"state of an authorization"
_IDS_TOKEN = re.compile(r"[A-Za-z0-9_-]{80}")
"""A nonce of 12 bytes, two ids of 16, and a tag of 16."""

_LOCAL_KEY = "connections/encryption.key"


class Secrets(BaseModel):
    """All that is secret about a connection.

    Attributes:
        bearer_token: Token that the caller gave.
        client_secret: Secret of the OAuth client.
        verifier: PKCE's, while an authorization is under way.
        parked_code: What the authorization server gave, until it is confirmed.
        characters: What confirms it.
        access_token: Token that the authorization server gave.
        refresh_token: What gets the next one.
        url_query: Query of the server's URL, which may hold a key.
    """

    bearer_token: str | None = None
    client_secret: str | None = None
    verifier: str | None = None
    parked_code: str | None = None
    characters: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    url_query: str | None = None

    def __repr__(self) -> str:
        """Names nothing, so that no log ever holds one."""
        return "Secrets(…)"

    __str__ = __repr__

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to keep secret."""
        return not any(self.model_dump().values())


class SecretBox:
    """Encrypts and decrypts the secrets of records.

    Args:
        keys: 32 bytes each; the first encrypts, all decrypt, so that keys can be replaced.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError("Encryption keys must be 32 bytes.")
        self._keys = {_key_id(key): key for key in keys}
        self._current = _key_id(keys[0])

    def encrypt(self, secrets: Secrets, binding: str) -> str:
        """Returns the secrets as text that opens with the same binding only.

        Args:
            secrets: What to hide.
            binding: What they belong to: `seal_binding`.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        data = secrets.model_dump_json(exclude_none=True).encode()
        sealed = nonce + AESGCM(self._keys[self._current]).encrypt(nonce, data, binding.encode())
        return f"{_VERSION}.{self._current}.{base64.b64encode(sealed).decode()}"

    def is_current(self, text: str) -> bool:
        """Whether secrets were encrypted with the key that encrypts now."""
        return text.split(".", 2)[1] == self._current

    def decrypt(self, text: str, binding: str) -> Secrets:
        """Returns the secrets.

        Raises:
            NotConfigured: The key that they were encrypted with is not configured any more, or the
                record has been changed by somebody without it.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        _, key_id, encoded = text.split(".", 2)
        sealed = base64.b64decode(encoded)
        try:
            data = AESGCM(self._keys[key_id]).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], binding.encode()
            )
        except (KeyError, InvalidTag) as error:
            raise NotConfigured(
                "The credentials of this connection cannot be decrypted. Put the key that it was made "
                "with into CONNECTIONS_ENCRYPTION_KEY again, or disconnect and connect anew."
            ) from error
        return Secrets.model_validate_json(data)

    def seal_ids(self, owner: str, connection_id: str) -> str:
        """Returns a token that never comes twice and tells nobody but us which connection it is of."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        ids = bytes.fromhex(owner) + uuid.UUID(connection_id).bytes
        sealed = AESGCM(self._keys[self._current]).encrypt(nonce, ids, _IDS_PURPOSE)
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def open_ids(self, token: str) -> tuple[str, str] | None:
        """Returns what `seal_ids` was given; None for another text that looks like a token."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        sealed = base64.urlsafe_b64decode(token)
        for key in self._keys.values():
            with suppress(InvalidTag):
                ids = AESGCM(key).decrypt(
                    sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _IDS_PURPOSE
                )
                return ids[:16].hex(), str(uuid.UUID(bytes=ids[16:]))
        return None


def is_ids_token(text: str) -> bool:
    """Whether a text looks like what `SecretBox.seal_ids` returns."""
    return _IDS_TOKEN.fullmatch(text) is not None


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"connections key id" + key).hexdigest()[:8]


class Vault:
    """Has the box ready when the first secret comes: keys from the settings, or the local store's.

    Args:
        config: Where keys are configured.
        state: The container where a key for local work is kept.
    """

    def __init__(self, config: ConnectionsConfig, state: ObjectStore) -> None:
        self._config = config
        self._shared_key = SharedKey(state, _LOCAL_KEY)
        self._box: SecretBox | None = None
        self._lock = asyncio.Lock()

    async def box(self) -> SecretBox:
        """Returns the box.

        Raises:
            NotConfigured: There is no key, and none may be generated.
        """
        async with self._lock:
            if self._box is None:
                keys = self._config.encryption_keys or [await self._local_key()]
                self._box = SecretBox(keys)
            return self._box

    async def _local_key(self) -> bytes:
        if not self._config.generates_key:
            raise NotConfigured(
                "Connections with credentials need CONNECTIONS_ENCRYPTION_KEY: "
                "32 random bytes in base64."
            )
        return await self._shared_key.load()
