"""Signed links to media that the app serves itself: from a folder, or from Blob Storage as a proxy."""

import asyncio
import hashlib
import hmac
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from shared.errors import Unauthorized
from shared.storage.objects import ObjectExists, ObjectMissing, ObjectStore
from shared.storage.private_files import FILE_MODE, make_private_folder

KEY_OBJECT = "media-links/key"
"""Object of the state container; deleting it and restarting the app revokes all links."""

_KEY_BYTES = 32
_MAX_DIGITS = 16

LoadKey = Callable[[], Awaitable[bytes]]


class LinkSigner:
    """Signs links to the app's route of media.

    Args:
        load_key: Returns the key that all instances share; called until it succeeds once.
        base_url: Where the app answers, without a slash at the end.
    """

    def __init__(self, load_key: LoadKey, base_url: str) -> None:
        self._load_key = load_key
        self._base_url = base_url
        self._key: bytes | None = None

    async def sign(self, name: str, expires_at: datetime) -> str:
        """Returns a link to an object that holds until ``expires_at``."""
        expires = int(expires_at.timestamp())
        signature = await self._signature(name, expires)
        query = {"object": name, "expires": expires, "signature": signature}
        media_id = name.rsplit("/", 1)[-1].partition(".")[0]
        return f"{self._base_url}/media/{quote(media_id)}?{urlencode(query)}"

    async def refusal(self, name: str, expires: str, signature: str) -> Unauthorized | None:
        """Returns why a link does not lead to its object, None where it does.

        Args:
            name: The object that it leads to.
            expires: When it expires, as it says.
            signature: What proves that we said so.
        """
        is_number = expires.isdecimal() and len(expires) < _MAX_DIGITS
        ours = await self._signature(name, int(expires)) if is_number else ""
        if not hmac.compare_digest(ours.encode(), signature.encode(errors="replace")):
            return Unauthorized("The link's signature is invalid. ")
        if int(expires) < datetime.now(UTC).timestamp():
            return Unauthorized("This link has expired. GET /media/ID with a key. ")
        return None

    async def _signature(self, name: str, expires: int) -> str:
        self._key = self._key or await self._load_key()
        return hmac.new(self._key, f"{expires}\n{name}".encode(), hashlib.sha256).hexdigest()


def key_of_file(path: Path) -> LoadKey:
    """Returns a source of the key in a file, which all processes of a machine share."""
    return lambda: asyncio.to_thread(_key_of_file, path)


def key_of_state(state: ObjectStore, name: str = KEY_OBJECT) -> LoadKey:
    """Returns a source of a key in the state container, which all instances share.

    Args:
        state: The state container.
        name: The object that holds the key; made when first needed.
    """

    async def load() -> bytes:
        with suppress(ObjectMissing):
            return (await state.read(name))[0]
        # Of several instances that start together the first one stores its key, and all read that.
        with suppress(ObjectExists):
            await state.create(name, secrets.token_bytes(_KEY_BYTES))
        return (await state.read(name))[0]

    return load


def _key_of_file(path: Path) -> bytes:
    make_private_folder(path.parent)
    draft = path.with_name(f".{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        # Of several processes that start together the first names its key, and all read that.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    return path.read_bytes()
