"""Whose a medium is, written on its object so that only this app can read it.

Whoever has a link to an object can read its metadata too. What stands for a principal in names is a hash
of a name that can be guessed, so that it is not written there as it is.
"""

import hashlib
import hmac

from shared.storage.links import key_of_state
from shared.storage.service import Storage

KEY_OBJECT = "media-owners/key"
"""Object of the state container; without it media that lack a record cannot be given back."""


class OwnerSeals:
    """Seals owners with a key that all instances share.

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
        """Returns an owner in a form that only `open` reads.

        Args:
            owner: What stands for a principal in names, as `owner_key` returns it.
            media_id: Of the medium; the same owner looks different on each.
        """
        return _mask(await self.load(), owner, media_id)

    async def open(self, sealed: str, media_id: str) -> str | None:
        """Returns the owner that `seal` was given; None for what it did not return."""
        try:
            return _mask(await self.load(), sealed, media_id)
        except ValueError:
            return None


def _mask(key: bytes, text: str, media_id: str) -> str:
    # Every medium has a mask of its own that is used for nothing else: applied twice it is undone.
    data = bytes.fromhex(text)
    mask = hmac.new(key, media_id.encode(), hashlib.sha256).digest()[: len(data)]
    return bytes(a ^ b for a, b in zip(data, mask, strict=True)).hex()
