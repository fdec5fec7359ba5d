"""Who signs the links to media, which browsers open without a key.

`LinkSigner` signs those that lead to the app itself, which serves the media from a folder, or from Blob
Storage as a proxy. `BlobLinkSigner` signs those that lead to Blob Storage (shared access signatures).
Where a public URL is configured for the media, links need no signature: see `MediaStore.link`.
"""

import asyncio
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from shared.errors import Unauthorized
from shared.storage.keys import LoadKey

if TYPE_CHECKING:
    from azure.storage.blob import UserDelegationKey

    from shared.storage.blob_account import BlobAccount

KEY_OBJECT = "media-links/key"
"""Object of the state container; deleting it and restarting the app revokes all links."""

DELEGATION_KEY_LIFETIME = timedelta(days=1)
CLOCK_SKEW = timedelta(minutes=5)

_MAX_DIGITS = 16


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


class BlobLinkSigner:
    """Signs links to blobs, for reading only.

    Args:
        account: The account that they are in.
        container: Their container.
    """

    def __init__(self, account: "BlobAccount", container: str) -> None:
        self._account = account
        self._container = container
        self._delegation: tuple[datetime, UserDelegationKey] | None = None
        self._delegating = asyncio.Lock()

    async def sign(self, name: str, expires_at: datetime) -> str:
        """Returns a link to a blob that holds until ``expires_at``.

        By identity it is signed with a user delegation key, because an account that allows no shared
        keys leaves no other way.

        Raises:
            StorageUnavailable: The key could not be had.
        """
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        service, account_key = self._account.service, self._account.account_key
        now = datetime.now(UTC)
        delegation = None if account_key else await self._delegation_key(now, expires_at)
        signature = generate_blob_sas(
            service.account_name or "",
            self._container,
            name,
            account_key=account_key,
            user_delegation_key=delegation,
            permission=BlobSasPermissions(read=True),
            start=now - CLOCK_SKEW,
            expiry=expires_at,
            # The emulator speaks http only.
            protocol="https" if service.url.startswith("https:") else None,
        )
        return f"{service.get_blob_client(self._container, name).url}?{signature}"

    async def _delegation_key(self, now: datetime, needed_until: datetime) -> "UserDelegationKey":
        async with self._delegating:
            if self._delegation is None or self._delegation[0] < needed_until:
                until = max(now + DELEGATION_KEY_LIFETIME, needed_until + CLOCK_SKEW)
                with self._account.errors():
                    key = await self._account.service.get_user_delegation_key(
                        now - CLOCK_SKEW, until
                    )
                self._delegation = (until, key)
            return self._delegation[1]
