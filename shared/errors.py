"""Every error a caller can be answered with, and what HTTP makes of it.

Exceptions of libraries do not leave the module that calls the library; they become one of these, which
are here where no module is named. Those without a status are never answered themselves, or as another::

    GatewayError                             500  internal_error
    ├── Unauthorized                         401  unauthorized
    │   └── InvalidToken                     401  invalid_token
    │       └── MisfitToken                  401  invalid_token
    ├── InsufficientScope                    403  insufficient_scope
    ├── ForbiddenOrigin                      403  forbidden_origin
    ├── ModelNotAllowed                      403  model_not_allowed
    ├── NotFound                             404  not_found
    │   └── ConnectionEnded                  404  not_found             shared.connections.errors
    ├── Conflict                             409  conflict
    │   └── IdempotencyMismatch              409  idempotency_mismatch
    ├── InvalidRequest                       422  invalid_request
    │   ├── MalformedJson                    400  invalid_request
    │   ├── MalformedRange                   400  invalid_request
    │   ├── UnsatisfiableRange               416  invalid_request
    │   └── ForbiddenAddress                 422  invalid_request
    ├── MethodNotAllowed                     405  method_not_allowed
    ├── TooLarge                             413  too_large
    ├── PriceUnknown                         403  price_unknown
    ├── LimitReached
    │   ├── RequestLimitReached              429  rate_limited
    │   └── BudgetSpent                      429  quota_exceeded
    ├── DeadlineExceeded                     504  deadline_exceeded
    │   └── ConnectionTimeout                408  deadline_exceeded     shared.connections.errors
    ├── NotConfigured                        503  not_configured
    │   └── AuthNotConfigured                503  auth_not_configured
    ├── SigningKeysUnavailable               503  signing_keys_unavailable
    ├── StorageUnavailable                   503  storage_unavailable
    ├── TooManyDownloads                     503  too_many_downloads
    ├── Overloaded                           503  overloaded
    ├── ShuttingDown                         503  shutting_down
    └── ProviderError
        ├── ProviderRejected                 400  provider_rejected
        │   ├── ProviderNotFound             400  provider_rejected
        │   │   └── ConfiguredModelNotFound  400  provider_rejected
        │   └── ServerRefused                400  provider_rejected     shared.connections.errors
        ├── ForwardedError
        ├── ContentFiltered                  400  content_filtered
        ├── ProviderCredentials              502  provider_credentials
        │   └── NotAuthorized                502  provider_credentials  shared.connections.errors
        ├── RateLimited                      429  rate_limited
        ├── QuotaExceeded                    429  quota_exceeded
        ├── ProviderUnavailable              502  provider_unavailable
        │   ├── ProviderDisconnected         502  provider_unavailable
        │   ├── AnswerTooLarge               502  provider_unavailable  shared.outbound.client
        │   ├── DownloadFailed               502  provider_unavailable  shared.outbound.download
        │   └── ServerUnavailable            502  provider_unavailable  shared.connections.errors
        │       └── ServerAnswerTooLarge     502  provider_unavailable  shared.connections.errors
        └── ProviderTruncated                502  provider_truncated

A bug is not in the tree: it is answered with 500 ``internal_error`` and the request id, and logged.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, ClassVar, Literal, NamedTuple

Outcome = Literal["ok", "client_error", "provider_error", "error"]
"""How a request ended, for whoever runs the app: its caller, a provider or the app is to blame."""

FIRST_CLIENT_ERROR = 400
FIRST_SERVER_ERROR = 500


class Failure(NamedTuple):
    """What the log says of a failure.

    Attributes:
        code: What happened, as in the answer; None for an answer that has no code.
        outcome: Who is to blame.
    """

    code: str | None
    outcome: Outcome


BUG = Failure("internal_error", "error")
"""What the log says of a bug."""


def failure_of(status: int, code: str | None = None) -> Failure:
    """Returns the failure that an HTTP status and a code tell of, where no provider is involved."""
    return Failure(code, "error" if status >= FIRST_SERVER_ERROR else "client_error")


MAX_DETAIL_CHARS = 4000
"""Maximum characters of an error's sentence."""

MAX_SHOWN_MODEL_CHARS = 128
MAX_COMPLAINTS = 20
MAX_DESCRIBED = 5
MAX_COMPLAINT_CHARS = 1000
MAX_STEPS = 10
MAX_STEP_CHARS = 64
"""What an answer to an invalid request holds at most: complaints, how many its sentence has, and steps
to the field of each."""


def cut_text(text: str, chars: int) -> str:
    """Returns a text, or the beginning of one that is longer, with a mark that it is cut."""
    return text if len(text) <= chars else f"{text[:chars]}…"


class GatewayError(Exception):
    """The root: an error with an HTTP status, a stable code and a sentence for the caller.

    Args:
        detail: One sentence that names the field or setting and says what to do.
        retry_after: Seconds after which to try again; None if unknown, or if that would not help.

    Attributes:
        errors: The fields that are wrong, each with ``loc``, ``msg`` and ``type``.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    default_retry_after: ClassVar[float | None] = None
    errors: tuple[Mapping[str, Any], ...] = ()

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        # A sentence may quote what the caller sent, such as an id of a megabyte.
        self.detail = cut_text(detail, MAX_DETAIL_CHARS)
        self.retry_after = retry_after
        super().__init__(self.detail)

    @property
    def failure(self) -> Failure:
        """What the log says of this error."""
        return failure_of(self.status, self.code)

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the HTTP answer: when to try again, in whole seconds (RFC 9110, 10.2.3)."""
        seconds = self.default_retry_after if self.retry_after is None else self.retry_after
        return {} if seconds is None else {"Retry-After": str(max(1, ceil(seconds)))}


class Unauthorized(GatewayError):
    """Raised when a request carries no key or a key that nobody has.

    Args:
        reason: A sentence that comes first, with a space after it.
        accepts_tokens: Whether access tokens of Entra ID let callers in too.
    """

    status = 401
    code = "unauthorized"

    def __init__(self, reason: str = "", *, accepts_tokens: bool = False) -> None:
        needed = "A valid API key or access token" if accepts_tokens else "A valid API key"
        or_token = ", the token as 'Authorization: Bearer TOKEN'" if accepts_tokens else ""
        super().__init__(
            f"{reason}{needed} is required: send the key as 'Authorization: Bearer KEY' or "
            f"'X-Api-Key: KEY'{or_token}."
        )

    @property
    def headers(self) -> Mapping[str, str]:
        """The scheme to authenticate with (RFC 9110, section 11.6.1)."""
        return {"WWW-Authenticate": "Bearer"}


class InvalidToken(Unauthorized):
    """Raised when a request carries an access token that is not valid here.

    Args:
        reason: Why, without anything of the token.
    """

    code = "invalid_token"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The access token is not valid here: {reason}. ", accepts_tokens=True)


class MisfitToken(InvalidToken):
    """Raised when a token of the right tenant does not fit how this app is registered or configured.

    Args:
        reason: Why, without anything of the token.
        advice: What an administrator may change, for `GET /health`.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.advice = f"A token of this tenant was refused: {reason}. {advice}"


class InsufficientScope(GatewayError):
    """Raised when the caller is known but lacks a scope.

    Args:
        detail: A sentence for the caller.
        scope: The scope that is missing; None where no single one would do.
    """

    status = 403
    code = "insufficient_scope"

    def __init__(self, detail: str, scope: str | None = None) -> None:
        super().__init__(detail)
        self.scope = scope


class ForbiddenOrigin(GatewayError):
    """Raised when a browser sends a request from an origin that is not allowed."""

    status = 403
    code = "forbidden_origin"


class ModelNotAllowed(GatewayError):
    """Raised when a model is asked for, or configured, that the caller may not use.

    Args:
        model: The model.
        patterns: What the caller may use, as far as they are told.
    """

    status = 403
    code = "model_not_allowed"

    def __init__(self, model: str, patterns: Sequence[str]) -> None:
        shown = cut_text(model, MAX_SHOWN_MODEL_CHARS)
        allowed = ", ".join(patterns[:MAX_COMPLAINTS]) or "none"
        super().__init__(
            f"The model '{shown}' may not be used here. Name one of these in 'model': {allowed}. The "
            "key's 'models' and the setting ALLOWED_MODELS say which."
        )


class NotFound(GatewayError):
    """Raised for an id that does not exist or belongs to another principal."""

    status = 404
    code = "not_found"


class Conflict(GatewayError):
    """Raised when another request holds or has changed the resource."""

    status = 409
    code = "conflict"


class IdempotencyMismatch(Conflict):
    """Raised when an idempotency key comes again with another request."""

    code = "idempotency_mismatch"


class InvalidRequest(GatewayError):
    """Raised when a body, a parameter or a tool argument is wrong.

    Args:
        detail: The whole complaint as text, for MCP clients and models.
        errors: The same as FastAPI's list (``loc``, ``msg``, ``type``), for HTTPS clients.
    """

    status = 422
    code = "invalid_request"

    def __init__(self, detail: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)

    @classmethod
    def for_field(
        cls, field: str, complaint: str, place: Literal["body", "query"] = "body"
    ) -> "InvalidRequest":
        """Builds the error for one field.

        Args:
            field: The field's name as the caller wrote it.
            complaint: What is wrong with it, as a sentence.
            place: Where it stood.
        """
        [error] = shorten([{"type": "value_error", "loc": (place, field), "msg": complaint}])
        return cls(f"{field}: {error['msg']}", [error])

    @classmethod
    def for_fields(cls, complaints: Sequence[Mapping[str, Any]]) -> "InvalidRequest":
        """Builds the error for several fields.

        Args:
            complaints: As FastAPI lists them.
        """
        errors = shorten(complaints)
        return cls(describe_complaints(errors), errors)


def describe_complaints(complaints: Sequence[Mapping[str, Any]]) -> str:
    """Returns complaints as one text: of the first ones the field and what is wrong with it."""
    sentences = []
    for complaint in complaints[:MAX_DESCRIBED]:
        field = ".".join(str(step) for step in complaint["loc"][1:])
        sentences.append(f"{field}: {complaint['msg']}" if field else complaint["msg"])
    if len(complaints) > MAX_DESCRIBED:
        sentences.append("the others are in 'errors'")
    return "; ".join(sentences)


def shorten(complaints: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns what fits into an answer of a list of complaints, which may be longer than the request.

    Args:
        complaints: As pydantic and FastAPI list them, with ``loc``, ``msg`` and ``type``.
    """
    shortened = [
        {
            **complaint,
            "loc": tuple(
                cut_text(step, MAX_STEP_CHARS) if isinstance(step, str) else step
                for step in complaint["loc"][:MAX_STEPS]
            ),
            "msg": cut_text(complaint["msg"], MAX_COMPLAINT_CHARS),
        }
        for complaint in complaints[:MAX_COMPLAINTS]
    ]
    if rest := len(complaints) - len(shortened):
        more = {"type": "too_many_errors", "loc": (), "msg": f"{rest} more errors are not listed"}
        shortened.append(more)
    return shortened


class MalformedJson(InvalidRequest):
    """Raised when a body is not JSON at all."""

    status = 400


class MalformedRange(InvalidRequest):
    """Raised when the header ``Range`` is no range of bytes."""

    status = 400

    def __init__(self) -> None:
        super().__init__("The header Range is malformed. Send one such as 'bytes=0-1023'.")


class UnsatisfiableRange(InvalidRequest):
    """Raised when the header ``Range`` names bytes beyond the end of the file.

    Args:
        size: Bytes of the file.
    """

    status = 416

    def __init__(self, size: int) -> None:
        super().__init__(f"The header Range names no byte of this file, which has {size} bytes.")
        self.size = size

    @property
    def headers(self) -> Mapping[str, str]:
        """How many bytes there are (RFC 9110, section 15.5.17)."""
        return {"Content-Range": f"bytes */{self.size}"}


class ForbiddenAddress(InvalidRequest):
    """Raised when a URL that somebody else names leads where this app does not call."""


class MethodNotAllowed(GatewayError):
    """Raised when a path has routes, but none with the method of the request.

    Args:
        method: The method.
        allowed: The methods of the path.
    """

    status = 405
    code = "method_not_allowed"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"This path does not take {method}. Send {' or '.join(allowed)}.")
        self._allowed = allowed

    @property
    def headers(self) -> Mapping[str, str]:
        """The methods that are right (RFC 9110, section 15.5.6)."""
        return {"Allow": ", ".join(self._allowed)}


class TooLarge(GatewayError):
    """Raised when a request body is over the limit."""

    status = 413
    code = "too_large"


class PriceUnknown(GatewayError):
    """Raised when the caller's US dollars are limited and nobody knows what the call costs."""

    status = 403
    code = "price_unknown"


class LimitReached(GatewayError):
    """The root of refusals because a limit of the caller is reached; the provider was not asked."""

    status = 429


class RequestLimitReached(LimitReached):
    """Raised when there are too many requests in a minute or at a time: waiting helps."""

    code = "rate_limited"


class BudgetSpent(LimitReached):
    """Raised when a limit of a day or a month is reached."""

    code = "quota_exceeded"


class DeadlineExceeded(GatewayError):
    """Raised when the budget of a request is used up."""

    status = 504
    code = "deadline_exceeded"


class NotConfigured(GatewayError):
    """Raised when a capability needs settings that are missing; the sentence names them."""

    status = 503
    code = "not_configured"


class SigningKeysUnavailable(GatewayError):
    """Raised when no token can be checked, because the identity provider's keys cannot be had."""

    status = 503
    code = "signing_keys_unavailable"
    default_retry_after = 5

    def __init__(self) -> None:
        super().__init__(
            "Tokens cannot be checked: the signing keys of ENTRA_TENANT_ID cannot be fetched from "
            "ENTRA_AUTHORITY. Try again, or use an API key."
        )


class AuthNotConfigured(NotConfigured):
    """Raised in Azure while no key is configured, so that nothing is open by accident."""

    code = "auth_not_configured"

    def __init__(self) -> None:
        super().__init__(
            "No API key is configured. "
            "Set API_KEYS, MCP_API_KEY or MCP_SERVER_API_KEY in the app settings, or ENTRA_TENANT_ID "
            "and ENTRA_CLIENT_ID."
        )


class StorageUnavailable(GatewayError):
    """Raised when storage cannot be reached, is full or refuses us; the sentence names the setting.

    Args:
        detail: A sentence for the caller.
        retry_after: Seconds that storage asks to wait; None where it says nothing.
        is_transient: Whether another attempt may help.
    """

    status = 503
    code = "storage_unavailable"

    def __init__(
        self, detail: str, retry_after: float | None = None, *, is_transient: bool = True
    ) -> None:
        super().__init__(detail, retry_after)
        self.is_transient = is_transient


class TooManyDownloads(GatewayError):
    """Raised when this process streams as many media as it may at a time."""

    status = 503
    code = "too_many_downloads"

    def __init__(self) -> None:
        super().__init__("Too many media are being downloaded. Try again in a few seconds.")

    @property
    def headers(self) -> Mapping[str, str]:
        """When to try again."""
        return {"Retry-After": "5"}


class Overloaded(GatewayError):
    """Raised when one process holds as many bytes of bodies as it may."""

    status = 503
    code = "overloaded"
    default_retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("Too many large requests are being served at once. Send this one again.")


class ShuttingDown(GatewayError):
    """Raised when the host stops before a request is answered."""

    status = 503
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("The server is shutting down. Send the request again.")


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
    """Raised when the provider says 429 and no retry fits into the deadline."""

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


class ProviderTruncated(ProviderError):
    """Raised when the provider's answer ends before it is complete."""

    status = 502
    code = "provider_truncated"
