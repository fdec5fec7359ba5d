"""Errors of a model's provider."""

from collections.abc import Mapping

from shared.errors.base import Failure, GatewayError


class ProviderError(GatewayError):
    """The root of errors of a model's provider.

    Attributes:
        reason: For the operator: the status or the error of the network, never text of the provider.
        is_before_output: Whether the provider sent no output before it, and so bills nothing.
    """

    reason: str | None = None
    is_before_output = False

    @property
    def failure(self) -> Failure:
        """What the log says: a request that the provider rejects is the client's error."""
        return Failure(self.code, "client_error" if self.status == 400 else "provider_error")


class ProviderRejected(ProviderError):
    """Raised when the provider calls the request wrong; its message is passed on."""

    status = 400
    code = "provider_rejected"


class ProviderNotFound(ProviderRejected):
    """Raised when the provider does not know what the request names, such as a model or a job."""


class ConfiguredModelNotFound(ProviderNotFound):
    """Raised when the provider does not know the configured model, so that every call fails."""

    reason = "the provider does not know the configured model"

    @property
    def failure(self) -> Failure:
        """What the log says: models are shut down, and then it is an outage."""
        return Failure(self.code, "provider_error")


class ForwardedError(ProviderError):
    """Raised when the provider answers a forwarded request with an error, which is passed on as it is.

    Args:
        error: What the error means to this app.
        status: The provider's status.
        headers: What the provider says of when to try again.
        body: The provider's body.
    """

    is_before_output = True

    def __init__(
        self, error: ProviderError, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        super().__init__(error.detail, error.retry_after)
        self.reason = f"status {status}"
        self.error = error
        self.provider_status = status
        self.provider_headers = headers
        self.body = body

    @property
    def failure(self) -> Failure:
        """What the log says: what it says of the error that the provider's means."""
        return self.error.failure


class ContentFiltered(ProviderError):
    """Raised when the provider's content filter refused the prompt or the answer."""

    status = 400
    code = "content_filtered"


class ProviderCredentials(ProviderError):
    """Raised when the provider refuses our credentials; its text is not passed on, it may quote them."""

    status = 502
    code = "provider_credentials"


class RateLimited(ProviderError):
    """Raised for a provider's 429; callers get it where no retry is made or fits into the deadline."""

    status = 429
    code = "rate_limited"
    default_retry_after = 5


class QuotaExceeded(ProviderError):
    """Raised when the provider's quota is spent: waiting does not help."""

    status = 429
    code = "quota_exceeded"


class ProviderUnavailable(ProviderError):
    """Raised when the provider cannot be reached, fails, or answers with something unreadable."""

    status = 502
    code = "provider_unavailable"


class ProviderDisconnected(ProviderUnavailable):
    """Raised when there is no answer because the connection failed.

    Args:
        detail: A sentence for the caller.
        was_sent: Whether the provider may have got the request, and may bill it.
    """

    def __init__(self, detail: str, *, was_sent: bool) -> None:
        super().__init__(detail)
        self.was_sent = was_sent


class AnswerTooLarge(ProviderUnavailable):
    """Raised when a server's answer is longer than its client may read."""


class ProviderTruncated(ProviderError):
    """Raised when the provider's answer ends before it is complete."""

    status = 502
    code = "provider_truncated"
