"""Errors for failures of providers: 429, refused credentials, the network.

For calls through the SDK and for forwarded requests. Which calls are repeated is in `client.py`.
"""

import email.utils
import socket
import ssl
from collections.abc import Container, Iterator, Mapping
from datetime import UTC, datetime
from typing import TypeVar

import httpx2

from shared.errors import (
    ProviderCredentials,
    ProviderDisconnected,
    ProviderError,
    ProviderTruncated,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
)
from shared.openai_service.provider_config import ProviderConfig

E = TypeVar("E", bound=ProviderError)

_CUT = (
    "Server disconnected",
    "peer closed connection",
    "peer unexpectedly closed connection",
    "can't handle event type ConnectionClosed",
)
"""How messages of the HTTP library and its parser begin that are about an early end."""


def with_reason(reason: str, error: E) -> E:
    """Returns an error with what an operator has to know of its cause."""
    error.reason = reason
    return error


def refused_credentials(status: int, config: ProviderConfig) -> ProviderCredentials:
    """Returns the error for a provider that refuses this app's credentials.

    Args:
        status: Its answer, 401 or 403.
        config: How it was called.
    """
    settings = (
        "the role assignment of the app's identity" if config.uses_identity else config.key_setting
    )
    detail = f"The provider refused this app's credentials with status {status}. Check {settings}."
    refusal = with_reason(f"status {status}", ProviderCredentials(detail))
    refusal.is_before_output = True
    return refusal


def too_many_requests(
    codes: Container[object], headers: Mapping[str, str]
) -> QuotaExceeded | RateLimited:
    """Returns the error for an answer with status 429.

    Args:
        codes: The ``code`` and the ``type`` of its error.
        headers: Its headers, by their names in lower case.
    """
    if "insufficient_quota" in codes:
        return QuotaExceeded(
            "The provider says that its quota is spent. Raise the quota or the billing limit there."
        )
    return RateLimited(
        "The provider is limiting the rate of requests. Try again after the time in Retry-After.",
        retry_after(headers),
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds to wait that an answer's headers ask for, None where they do not."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None or (seconds := _number(value)) is not None:
        return None if value is None else seconds
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def no_token() -> ProviderCredentials:
    """Returns the error for an identity that gets no token."""
    return ProviderCredentials(
        "No token for Azure OpenAI could be had. Give the app's identity the role 'Cognitive "
        "Services OpenAI User', check AZURE_CLIENT_ID, or set AZURE_OPENAI_API_KEY."
    )


def no_answer(error: BaseException | None) -> ProviderUnavailable:
    """Returns the error for a request to which no head of an answer came.

    Args:
        error: What the HTTP library raised.
    """
    if isinstance(error, httpx2.RemoteProtocolError) and not _is_end(error):
        # The provider has begun to answer, and so bills what it was asked.
        return ProviderUnavailable(
            "The provider's answer is malformed. Check its base URL in the settings, or try again."
        )
    if isinstance(error, httpx2.ProxyError):
        return ProviderDisconnected(
            f"The provider cannot be reached: {_proxy_refusal(error)}. Check HTTPS_PROXY and NO_PROXY.",
            was_sent=False,
        )
    was_sent = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
    what = "dropped the connection" if was_sent else "cannot be reached"
    return ProviderDisconnected(
        f"The provider {what}. Check its base URL in the settings, or try again.", was_sent=was_sent
    )


def _is_end(error: httpx2.RemoteProtocolError) -> bool:
    """Returns whether the connection ended before the head of an answer was complete."""
    return str(error).startswith("Server disconnected")


def redirected() -> ProviderUnavailable:
    """Returns the error for a redirect: who follows one takes the app's key to another place."""
    return ProviderUnavailable("The provider sent a redirect. Check its base URL in the settings.")


def _is_cut(error: httpx2.RemoteProtocolError) -> bool:
    """Returns whether the connection ended early; all else of this type is an answer that is no HTTP."""
    return str(error).startswith(_CUT)


def _proxy_refusal(error: httpx2.ProxyError) -> str:
    """Returns what a proxy did, without its own words but for the status they begin with."""
    status = str(error).partition(" ")[0]
    return "the proxy refused" + (f" with status {status}" if status.isdigit() else "")


def truncated() -> ProviderTruncated:
    """Returns the error for an answer that ends before it is complete."""
    return ProviderTruncated("The provider's answer ended before it was complete. Try again.")


def network_reason(error: BaseException) -> str:
    """Returns why no answer came, for an operator; nothing in it is the provider's text."""
    reasons = [reason for cause in _causes(error) if (reason := _reason(cause))]
    # The innermost cause knows most.
    return reasons[-1] if reasons else "connection failed"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup) and error.exceptions:
            # One for each address of the host; they rarely differ.
            error = error.exceptions[0]
        else:
            error = error.__cause__ or error.__context__


def _reason(error: BaseException) -> str | None:
    match error:
        case socket.gaierror():
            return "unknown host"
        case ssl.SSLCertVerificationError():
            return f"TLS certificate refused: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or 'no common protocol'}"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            return "connection reset"
        case httpx2.ConnectTimeout():
            return "timeout while connecting"
        case httpx2.TimeoutException() | TimeoutError():
            return "timeout"
        case httpx2.ProxyError():
            return _proxy_refusal(error)
        case httpx2.RemoteProtocolError():
            is_cut = _is_cut(error)
            return (
                "connection closed before the answer was complete" if is_cut else "malformed answer"
            )
        case OSError() if error.errno is not None and error.strerror:
            return error.strerror.lower()
    return None
