"""Signed links to objects that the app serves itself, where no storage service can sign them."""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from shared.errors import Unauthorized

_KEY_BYTES = 32
_MAX_DIGITS = 16


class LinkSigner:
    """Signs links with a key that all processes of the folder share.

    Args:
        key_file: Where the key is; made when first needed.
        base_url: Where the app answers, without a slash at the end.
    """

    def __init__(self, key_file: Path, base_url: str) -> None:
        self._key_file = key_file
        self._base_url = base_url
        self._key: bytes | None = None

    def sign(self, name: str, expires_at: datetime) -> str:
        """Returns a link to an object that holds until ``expires_at``."""
        expires = int(expires_at.timestamp())
        query = {"object": name, "expires": expires, "signature": self._signature(name, expires)}
        media_id = name.rsplit("/", 1)[-1].partition(".")[0]
        return f"{self._base_url}/media/{quote(media_id)}?{urlencode(query)}"

    def refusal(self, name: str, expires: str, signature: str) -> Unauthorized | None:
        """Returns why a link does not lead to its object, None where it does.

        Args:
            name: The object that it leads to.
            expires: When it expires, as it says.
            signature: What proves that we said so.
        """
        is_number = expires.isdecimal() and len(expires) < _MAX_DIGITS
        ours = self._signature(name, int(expires)) if is_number else ""
        if not hmac.compare_digest(ours.encode(), signature.encode(errors="replace")):
            return Unauthorized("This link is not one of ours. ")
        if int(expires) < datetime.now(UTC).timestamp():
            return Unauthorized("This link has expired; with a key /media/ID leads there. ")
        return None

    def _signature(self, name: str, expires: int) -> str:
        self._key = self._key or self._load_key()
        return hmac.new(self._key, f"{expires}\n{name}".encode(), hashlib.sha256).hexdigest()

    def _load_key(self) -> bytes:
        self._key_file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._key_file.with_name(f".{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
            # Of several processes that start together the first names its key, and all read that.
            with suppress(FileExistsError):
                os.link(draft, self._key_file)
        finally:
            draft.unlink()
        return self._key_file.read_bytes()
