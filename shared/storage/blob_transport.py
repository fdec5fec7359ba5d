"""How requests to Blob Storage are sent and repeated.

Importing this module imports the Azure SDK and aiohttp.
"""

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
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob.aio import ExponentialRetry

from shared.storage.retries import MAX_RETRY_AFTER_SECONDS, may_retry, pause_seconds

_ANY = 1_000_000
"""Retries that the SDK allows; `may_retry` ends them."""

_WRITES = frozenset({"PUT", "POST", "DELETE"})


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
