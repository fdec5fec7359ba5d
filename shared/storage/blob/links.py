"""Links to blobs, for reading only: shared access signatures."""

import asyncio
from datetime import UTC, datetime, timedelta

from azure.storage.blob import BlobSasPermissions, UserDelegationKey, generate_blob_sas

from shared.storage.blob.account import BlobAccount

DELEGATION_KEY_LIFETIME = timedelta(days=1)
CLOCK_SKEW = timedelta(minutes=5)


class BlobLinkSigner:
    """Signs links to blobs, for reading only.

    Args:
        account: The account that they are in.
        container: Their container.
    """

    def __init__(self, account: BlobAccount, container: str) -> None:
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

    async def _delegation_key(self, now: datetime, needed_until: datetime) -> UserDelegationKey:
        async with self._delegating:
            if self._delegation is None or self._delegation[0] < needed_until:
                until = max(now + DELEGATION_KEY_LIFETIME, needed_until + CLOCK_SKEW)
                with self._account.errors():
                    key = await self._account.service.get_user_delegation_key(
                        now - CLOCK_SKEW, until
                    )
                self._delegation = (until, key)
            return self._delegation[1]
