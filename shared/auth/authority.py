"""The documents that a tenant publishes, fetched with the outbound client."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

from shared.deadline import time_limit
from shared.errors import DeadlineExceeded, GatewayError
from shared.outbound import open_client

if TYPE_CHECKING:
    import httpx2

FETCH_SECONDS = 5.0
MAX_DOCUMENT_BYTES = 1024 * 1024


class DocumentUnavailable(Exception):
    """Raised when a document cannot be had; says why, and from where."""


class Authority:
    """Fetches what a tenant publishes; redirects are not followed.

    Args:
        allow_private: Whether it may be on this machine, without https.
        fetch_seconds: Maximum seconds for one document.
    """

    def __init__(self, *, allow_private: bool, fetch_seconds: float = FETCH_SECONDS) -> None:
        self._allow_private = allow_private
        self._fetch_seconds = fetch_seconds
        self._opening = asyncio.Lock()
        self._client: httpx2.AsyncClient | None = None

    async def fetch(self, url: str) -> dict[str, Any]:
        """Returns a JSON object.

        Raises:
            DocumentUnavailable: It cannot be had.
        """
        try:
            async with time_limit(self._fetch_seconds):
                return await self._fetch(url)
        except DeadlineExceeded as error:
            raise DocumentUnavailable(f"{url} did not answer in time") from error

    async def aclose(self) -> None:
        """Closes the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _fetch(self, url: str) -> dict[str, Any]:
        client = await self._open_client()
        import httpx2

        try:
            response = await client.get(url, headers={"Accept": "application/json"})
        except (httpx2.HTTPError, GatewayError) as error:
            raise DocumentUnavailable(
                f"{url} cannot be reached ({type(error).__name__})"
            ) from error
        if response.status_code != httpx2.codes.OK:
            raise DocumentUnavailable(f"{url} answered with status {response.status_code}")
        try:
            document = json.loads(response.content)
        except (ValueError, RecursionError) as error:
            raise DocumentUnavailable(f"{url} did not answer with JSON") from error
        if not isinstance(document, dict):
            raise DocumentUnavailable(f"{url} did not answer with a JSON object")
        return document

    async def _open_client(self) -> "httpx2.AsyncClient":
        async with self._opening:
            if self._client is None:
                # Imports and certificates take a while.
                self._client = await asyncio.to_thread(
                    open_client,
                    allow_private=self._allow_private,
                    max_body_bytes=MAX_DOCUMENT_BYTES,
                )
            return self._client
