"""Failures of the realtime API, as this app's errors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp

from shared.errors import (
    ContentFiltered,
    ProviderDisconnected,
    ProviderError,
    ProviderNotFound,
    ProviderRejected,
    ProviderTruncated,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
)
from shared.openai_service.failures import network_reason, refused_credentials, with_reason
from shared.openai_service.provider_config import ProviderConfig
from shared.openai_service.text import repair_surrogates

MAX_MESSAGE_CHARS = 2000
FIRST_SERVER_ERROR = 500

_CREDENTIALS = frozenset({"invalid_api_key", "authentication_error"})
_REJECTED = "invalid_request_error"


@contextmanager
def network_errors(config: ProviderConfig) -> Iterator[None]:
    """Turns what the WebSocket client raises into our exceptions.

    Raises:
        ProviderError: In place of theirs.
    """
    try:
        yield
    except aiohttp.WSServerHandshakeError as error:
        refusal = with_reason(f"status {error.status}", _of_status(error.status, config))
        refusal.is_before_output = True
        raise refusal from error
    except aiohttp.ClientConnectorError as error:
        raise with_reason(
            network_reason(error),
            ProviderDisconnected(
                "The provider cannot be reached. Check its base URL in the settings, or try again.",
                was_sent=False,
            ),
        ) from error
    except aiohttp.ClientError as error:
        raise with_reason(
            network_reason(error),
            ProviderTruncated("The provider's clip ended before it was complete. Try again."),
        ) from error


def _of_status(status: int, config: ProviderConfig) -> ProviderError:
    if status in (401, 403):
        return refused_credentials(status, config)
    if status == 429:
        return RateLimited("The provider is limiting the rate of requests.")
    if status in (404, 410):
        return ProviderNotFound(
            "The provider does not know the model, or has no realtime API. Check both."
        )
    if status >= FIRST_SERVER_ERROR:
        return ProviderUnavailable(f"The provider failed with status {status}. Try again.")
    return ProviderRejected(f"The provider rejected the connection with status {status}.")


def error_of_event(error: object, config: ProviderConfig) -> ProviderError:
    """Returns what an error of the API means.

    Args:
        error: The object of the event ``error``, or of a response that failed.
        config: How the provider was called.
    """
    fields: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
    code, kind = fields.get("code"), fields.get("type")
    message = repair_surrogates(str(fields.get("message") or "no reason given"))[:MAX_MESSAGE_CHARS]
    found: ProviderError
    if code in _CREDENTIALS or kind in _CREDENTIALS:
        found = refused_credentials(401, config)
    elif code == "insufficient_quota":
        found = QuotaExceeded("The provider says that its quota is spent.")
    elif "rate_limit" in f"{code} {kind}":
        found = RateLimited("The provider is limiting the rate of requests.")
    elif code == "model_not_found":
        found = ProviderNotFound(f"The provider does not know the model: {message}")
    elif code == "content_filter":
        found = ContentFiltered(f"The provider's content filter refused the request: {message}")
    elif kind == _REJECTED:
        found = ProviderRejected(f"The provider rejected the request: {message}")
    else:
        found = ProviderUnavailable("The provider failed while it was speaking. Try again.")
    return with_reason(f"error {code or kind or 'of no kind'}"[:100], found)


def error_of_response(response: Mapping[str, Any], config: ProviderConfig) -> ProviderError:
    """Returns why a response that has ended is not complete."""
    details = response.get("status_details")
    details = details if isinstance(details, Mapping) else {}
    if response.get("status") == "failed":
        return error_of_event(details.get("error"), config)
    if details.get("reason") == "content_filter":
        return ContentFiltered("The provider's content filter cut the clip off. Change the text.")
    return ProviderTruncated("The provider's clip ended before it was complete. Shorten the text.")
