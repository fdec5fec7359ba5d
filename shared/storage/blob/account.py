"""A storage account: its credentials, the retries of its requests, and its errors as this app's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import (
    ClientConnectionError,
    ClientConnectorError,
    ClientHandlerType,
    ClientOSError,
    ClientRequest,
    ClientResponse,
    ServerDisconnectedError,
)
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry

from shared.errors import StorageUnavailable
from shared.storage.retries import MAX_RETRY_AFTER_SECONDS, may_retry, pause_seconds
from shared.timing import Timing

CONNECT_TIMEOUT_SECONDS = 5
BLOCK_BYTES = 1024 * 1024
"""Bytes of a block of uploads and downloads; a few of them are in memory at a time. aiohttp sends
larger ones in one go, while everything else waits."""

READ_BYTES = 256 * 1024
"""Read from a connection at a time."""

_BY_STRING = "AZURE_STORAGE_CONNECTION_STRING"
_BY_IDENTITY = "AZURE_STORAGE_ACCOUNT_URL"

_ANY = 1_000_000
"""Retries that the SDK allows; `may_retry` ends them."""

_WRITES = frozenset({"PUT", "POST", "DELETE"})


class BlobAccount:
    """A storage account.

    Attributes:
        service: The SDK's client of it. It repeats what fails; a call whose repeats must be known has to
            say ``retry_total=0``.
        account_key: Signs links; None where the app is let in by its identity.
        attempts: Maximum attempts at an operation outside of `keep_retrying`.
    """

    def __init__(
        self,
        service: BlobServiceClient,
        setting: str,
        account_key: str | None,
        credential: AsyncTokenCredential | None,
        timing: Timing,
    ) -> None:
        self.service = service
        self.attempts = timing.storage_attempts
        self._setting = setting
        self.account_key = account_key
        self._credential = credential

    @classmethod
    def from_connection_string(
        cls, connection_string: str, timing: Timing | None = None, **options: Any
    ) -> "BlobAccount":
        """Opens an account by connection string.

        Args:
            connection_string: With an account key, or for the local emulator.
            timing: How often and how long to try.
            options: Further ones of the SDK's client.

        Raises:
            ValueError: The connection string is malformed.
        """
        timing = timing or Timing()
        service = BlobServiceClient.from_connection_string(
            connection_string, **_options(timing, options)
        )
        key = getattr(service.credential, "account_key", None)
        return cls(service, _BY_STRING, key, None, timing)

    @classmethod
    def from_identity(
        cls,
        account_url: str,
        credential: AsyncTokenCredential,
        timing: Timing | None = None,
        **options: Any,
    ) -> "BlobAccount":
        """Opens an account by identity.

        Args:
            account_url: As ``https://NAME.blob.core.windows.net``.
            credential: The identity; closed with the account.
            timing: How often and how long to try.
            options: Further ones of the SDK's client.
        """
        timing = timing or Timing()
        service = BlobServiceClient(account_url, credential=credential, **_options(timing, options))
        return cls(service, _BY_IDENTITY, None, credential, timing)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns what the SDK and the identity raise into our exception.

        Raises:
            StorageUnavailable: In place of theirs.
        """
        try:
            yield
        except AzureError as error:
            raise StorageUnavailable(
                self._explain(error),
                retry_after(getattr(error, "response", None)),
                is_transient=_is_transient(error),
            ) from error

    async def aclose(self) -> None:
        """Closes connections and the credential."""
        await self.service.close()
        if self._credential is not None:
            await self._credential.close()

    def _explain(self, error: AzureError) -> str:
        status = getattr(error, "status_code", None)
        if status == 403 or isinstance(error, ClientAuthenticationError):
            remedy = (
                "Check its account key."
                if self._setting == _BY_STRING
                else "Give the app's identity the roles 'Storage Blob Data Contributor' and 'Storage "
                "Blob Delegator' there, and check AZURE_CLIENT_ID."
            )
            return f"The storage account of {self._setting} refuses this app. {remedy}"
        if isinstance(error, HttpResponseError) and status:
            code = getattr(error, "error_code", None)
            reason = f"status {status}" + (f" ({getattr(code, 'value', code)})" if code else "")
            return f"The storage account of {self._setting} answered with {reason}. Try again."
        return (
            f"The storage account of {self._setting} cannot be reached, or is too slow. "
            "Check the setting and the network, or try again."
        )


def _is_transient(error: AzureError) -> bool:
    if isinstance(error, ClientAuthenticationError):
        return False
    status = getattr(error, "status_code", None)
    return not status or status >= 500 or status in (408, 429)


def _options(timing: Timing, others: dict[str, Any]) -> dict[str, Any]:
    return {
        "transport": SingleAttemptTransport(
            connection_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=timing.storage_timeout,
            connection_data_block_size=READ_BYTES,
            **others,
        ),
        "retry_policy": RetryPolicy(timing.storage_attempts),
        "max_single_get_size": BLOCK_BYTES,
        "max_chunk_get_size": BLOCK_BYTES,
        # Everything is sent in blocks of our own.
        "max_single_put_size": 2 * BLOCK_BYTES,
        **others,
    }


class SingleAttemptTransport(AioHttpTransport):  # type: ignore[misc]  # The SDK loads it late.
    """Sends each write once.

    aiohttp sends PUT and DELETE again where a kept connection breaks before the answer: a conditional
    write would meet its own first attempt, and nobody could tell.
    """

    async def send(self, request: Any, **config: Any) -> Any:
        """Sends one request."""
        return await super().send(request, middlewares=(_send_once,), **config)


class RetryPolicy(ExponentialRetry):
    """Repeats what is safe to repeat, after pauses of our own.

    The SDK's pauses do not honour ``Retry-After``, and its counts know no deadline.

    Args:
        attempts: Maximum attempts at a request outside of `keep_retrying`.
    """

    def __init__(self, attempts: int) -> None:
        self._attempts = attempts
        super().__init__(retry_total=_ANY, retry_connect=_ANY, retry_read=_ANY, retry_status=_ANY)

    def increment(self, settings: dict[str, Any], *args: Any, **kwargs: Any) -> bool:
        """Counts a failure, and returns whether the request is to be attempted once more."""
        goes_on: bool = super().increment(settings, *args, **kwargs)
        pause = self.get_backoff_time(settings)
        return goes_on and may_retry(settings["count"], pause, self._attempts)

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """Returns how long to wait before the next attempt."""
        last = settings["history"][-1].http_response if settings["history"] else None
        asked = min(retry_after(last) or 0.0, MAX_RETRY_AFTER_SECONDS)
        return pause_seconds(settings["count"], asked)


def retry_after(response: Any) -> float | None:
    """Returns the seconds that an answer of storage asks to wait, None where it says nothing."""
    value = "" if response is None else response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


async def _send_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    try:
        return await handler(request)
    except ClientConnectorError:
        # Never sent, and never repeated.
        raise
    except (ClientOSError, ServerDisconnectedError) as error:
        if request.method not in _WRITES:
            raise
        # aiohttp repeats only those two.
        raise ClientConnectionError(str(error)) from error
