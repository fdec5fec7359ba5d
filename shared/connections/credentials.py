"""Encryption of credentials at rest: AES-256-GCM, bound to the record and the addresses they go to."""

import asyncio
import base64
import hashlib
import os
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress

from pydantic import BaseModel

from shared.connections.config import ConnectionsConfig
from shared.errors import NotConfigured
from shared.storage import ObjectStore, SharedKey

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
        verifier: PKCE code verifier of an authorization under way.
        parked_code: Authorization code that its user has not confirmed yet.
        characters: The characters that confirm it.
        access_token: Access token of the authorization server.
        refresh_token: Refresh token, which gets the next access token.
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
    """Encrypts and decrypts the secrets of records, with keys of the settings or of the local store.

    Args:
        config: Has the keys: the first encrypts, all decrypt, so that keys can be replaced.
        state: The container where a key for local work is kept.
    """

    def __init__(self, config: ConnectionsConfig, state: ObjectStore) -> None:
        self._config = config
        self._shared_key = SharedKey(state, _LOCAL_KEY)
        self._known: dict[str, bytes] = {}
        self._lock = asyncio.Lock()

    async def encrypt(self, secrets: Secrets, binding: str) -> str:
        """Returns the secrets as text that opens with the same binding only.

        Args:
            secrets: The secrets to hide.
            binding: What they belong to: `seal_binding`.

        Raises:
            NotConfigured: There is no key, and none may be generated.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key_id, key = next(iter((await self._keys()).items()))
        nonce = os.urandom(_NONCE_BYTES)
        data = secrets.model_dump_json(exclude_none=True).encode()
        sealed = nonce + AESGCM(key).encrypt(nonce, data, binding.encode())
        return f"{_VERSION}.{key_id}.{base64.b64encode(sealed).decode()}"

    async def is_current(self, text: str) -> bool:
        """Returns whether secrets were encrypted with the key that encrypts now."""
        return text.split(".", 2)[1] == next(iter(await self._keys()))

    async def decrypt(self, text: str, binding: str) -> Secrets:
        """Returns the secrets.

        Raises:
            NotConfigured: The key that they were encrypted with is not configured any more, or the
                record has been changed by somebody without it.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        _, key_id, encoded = text.split(".", 2)
        sealed = base64.b64decode(encoded)
        keys = await self._keys()
        try:
            data = AESGCM(keys[key_id]).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], binding.encode()
            )
        except (KeyError, InvalidTag) as error:
            raise NotConfigured(
                "The credentials of this connection cannot be decrypted. Put the key that it was made "
                "with into CONNECTIONS_ENCRYPTION_KEY again, or disconnect and connect anew."
            ) from error
        return Secrets.model_validate_json(data)

    async def seal_ids(self, owner: str, connection_id: str) -> str:
        """Returns a new token that only this app can read the connection from.

        Raises:
            NotConfigured: There is no key, and none may be generated.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = next(iter((await self._keys()).values()))
        nonce = os.urandom(_NONCE_BYTES)
        ids = bytes.fromhex(owner) + uuid.UUID(connection_id).bytes
        sealed = AESGCM(key).encrypt(nonce, ids, _IDS_PURPOSE)
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    async def open_ids(self, token: str) -> tuple[str, str] | None:
        """Returns what `seal_ids` was given; None for a text that it never returned.

        Raises:
            NotConfigured: There is no key, and none may be generated.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if not _IDS_TOKEN.fullmatch(token):
            # It costs no look into storage.
            return None
        sealed = base64.urlsafe_b64decode(token)
        for key in (await self._keys()).values():
            with suppress(InvalidTag):
                ids = AESGCM(key).decrypt(
                    sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _IDS_PURPOSE
                )
                return ids[:16].hex(), str(uuid.UUID(bytes=ids[16:]))
        return None

    async def _keys(self) -> Mapping[str, bytes]:
        """Returns all keys by their id; the first one encrypts."""
        async with self._lock:
            if not self._known:
                keys = self._config.encryption_keys or [await self._local_key()]
                self._known = {_key_id(key): key for key in keys}
            return self._known

    async def _local_key(self) -> bytes:
        if not self._config.generates_key:
            raise NotConfigured(
                "Connections with credentials need CONNECTIONS_ENCRYPTION_KEY: "
                "32 random bytes in base64."
            )
        return await self._shared_key.load()


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"connections key id" + key).hexdigest()[:8]
