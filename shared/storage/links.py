"""Who signs the links to media, which browsers open without a key.

`LinkSigner` signs those that lead to the app itself: short ones, which a model copies without an error,
and longer ones to objects whose name a short link cannot tell. `BlobLinkSigner` (`blob/links.py`) signs
those that lead to Blob Storage, to which short links redirect where the app does not serve media itself.
Where a public URL is configured for the media, links need no signature: see `MediaStore.link`.
"""

import binascii
import hashlib
import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from shared.errors import Unauthorized
from shared.storage.shared_keys import LoadKey

KEY_OBJECT = "media-links/key"
"""Object of the state container; deleting it and restarting the app revokes all links."""

SHORT_LINK_PATH = "/m"
"""Path of short links; the id of the medium follows."""

_MAX_DIGITS = 16

_SHORT_PAYLOAD = struct.Struct(">BI13s")
"""The ``s`` of a short link: which object of the medium, when it expires, and 104 bits of signature."""


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

    async def sign_short(self, media_id: str, code: int, expires_at: datetime) -> str:
        """Returns a link of at most 80 characters after the host that holds until ``expires_at``.

        Args:
            media_id: Id of the medium.
            code: Number of the object among those of the medium, as `MediaObjects.code` returns it.
            expires_at: Its expiry.
        """
        expires = int(expires_at.timestamp())
        payload = _SHORT_PAYLOAD.pack(
            code, expires, await self._short_digest(media_id, code, expires)
        )
        text = urlsafe_b64encode(payload).decode()
        return f"{self._base_url}{SHORT_LINK_PATH}/{media_id}?s={text}"

    async def read_short(self, media_id: str, text: str) -> tuple[int, datetime]:
        """Returns the code and the expiry of a short link.

        Args:
            media_id: Id of the medium that it names.
            text: Its ``s``.

        Raises:
            Unauthorized: We did not sign it, or it has expired.
        """
        try:
            payload = urlsafe_b64decode(text.encode())
            code, expires, digest = _SHORT_PAYLOAD.unpack(payload)
        except (ValueError, binascii.Error, struct.error):
            raise Unauthorized("The link's signature is invalid. ") from None
        if not hmac.compare_digest(await self._short_digest(media_id, code, expires), digest):
            raise Unauthorized("The link's signature is invalid. ")
        if expires < datetime.now(UTC).timestamp():
            raise Unauthorized("This link has expired. GET /media/ID with a key. ")
        return code, datetime.fromtimestamp(expires, UTC)

    async def _short_digest(self, media_id: str, code: int, expires: int) -> bytes:
        self._key = self._key or await self._load_key()
        signed = f"short\n{media_id}\n{code}\n{expires}".encode(errors="replace")
        return hmac.new(self._key, signed, hashlib.sha256).digest()[:13]

    async def _signature(self, name: str, expires: int) -> str:
        self._key = self._key or await self._load_key()
        return hmac.new(self._key, f"{expires}\n{name}".encode(), hashlib.sha256).hexdigest()
