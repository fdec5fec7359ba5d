"""Encrypts the owner of a medium for the metadata of its object, which whoever has a link can read.

The hash that stands for a principal in names is of a name that can be guessed, so the metadata must not
hold it in the clear.
"""

import os

from shared.storage.links import key_of_state
from shared.storage.service import Storage

KEY_OBJECT = "media-owners/key"
"""Object of the state container; without it media that lack a record cannot be given back."""

_NONCE_BYTES = 12


class OwnerSeals:
    """Encrypts and decrypts owners (AES-256-GCM) with a key that all instances share.

    Args:
        storage: Where the key is; made when first needed.
    """

    def __init__(self, storage: Storage) -> None:
        self._load_key = key_of_state(storage.state, KEY_OBJECT)
        self._key: bytes | None = None

    async def load(self) -> bytes:
        """Returns the key, read once for each instance.

        Raises:
            StorageUnavailable: It cannot be read.
        """
        if self._key is None:
            self._key = await self._load_key()
        return self._key

    async def seal(self, owner: str, media_id: str) -> str:
        """Returns an encrypted owner, as text that opens with the same medium only.

        Args:
            owner: Hash of the principal, as `owner_key` returns it.
            media_id: Id of the medium.

        Raises:
            StorageUnavailable: The key cannot be read.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        cipher = AESGCM(await self.load())
        return (nonce + cipher.encrypt(nonce, bytes.fromhex(owner), media_id.encode())).hex()

    async def open(self, sealed: str, media_id: str) -> str | None:
        """Returns the owner that `seal` was given; None for a text that this key did not seal.

        Args:
            sealed: Text from the metadata of an object.
            media_id: Id of the medium.

        Raises:
            StorageUnavailable: The key cannot be read.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        cipher = AESGCM(await self.load())
        try:
            data = bytes.fromhex(sealed)
            return cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], media_id.encode()).hex()
        except (ValueError, InvalidTag):
            return None
