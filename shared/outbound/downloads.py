"""Downloads from addresses that a provider names for what it has made, or a caller for what to read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shared.errors import ForbiddenAddress, ProviderUnavailable, TooLarge
from shared.outbound.client import open_client
from shared.outbound.download import Download, download

if TYPE_CHECKING:
    import httpx2


class Downloads:
    """Opens files by URL; the client under it is made for the first one.

    Args:
        allow_private: Whether http and private networks are allowed too.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._opening = asyncio.Lock()
        self._client: httpx2.AsyncClient | None = None

    @asynccontextmanager
    async def open(self, url: str, max_bytes: int) -> AsyncIterator[Download]:
        """Opens a file for reading.

        Args:
            url: Where a provider says that it is.
            max_bytes: How long it may be.

        Raises:
            ProviderUnavailable: It cannot be had, may not be reached, or is too long.
        """
        client = await self._open_client()
        try:
            async with download(client, url, max_bytes=max_bytes) as opened:
                yield opened
        except (ForbiddenAddress, TooLarge) as error:
            # Nothing that the caller wrote is wrong.
            raise ProviderUnavailable(
                f"The provider's file cannot be fetched. {error.detail}"
            ) from error

    async def fetch(self, url: str, max_bytes: int) -> tuple[bytes, str]:
        """Returns a file that a caller names, and the media type that its server says.

        Args:
            url: The URL that the caller gives.
            max_bytes: Maximum bytes.

        Raises:
            ForbiddenAddress: The URL may not be called.
            DownloadFailed: The file cannot be had.
            TooLarge: It is longer than ``max_bytes``.
        """
        client = await self._open_client()
        async with download(client, url, max_bytes=max_bytes) as opened:
            return b"".join([chunk async for chunk in opened.chunks]), opened.content_type

    async def aclose(self) -> None:
        """Closes connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _open_client(self) -> "httpx2.AsyncClient":
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(
                    open_client, allow_private=self._allow_private
                )
            return self._client
