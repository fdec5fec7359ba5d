"""Every error a caller can be answered with, and what HTTP makes of it.

Exceptions of libraries do not leave the module that calls the library; they become one of these, which
are in this package where no module is named. Those without a status are never answered as what they
are::

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
    │   ├── NotAcceptable                    406  invalid_request
    │   ├── UnsupportedMediaType             415  invalid_request
    │   ├── MalformedRange                   400  invalid_request
    │   ├── UnsatisfiableRange               416  invalid_request
    │   └── ForbiddenAddress                 422  invalid_request
    ├── MethodNotAllowed                     405  method_not_allowed
    ├── TooLarge                             413  too_large
    ├── RequestTimeout                       408  request_timeout
    ├── PriceUnknown                         403  price_unknown
    ├── LimitReached
    │   ├── RequestLimitReached              429  rate_limited
    │   └── BudgetSpent                      429  quota_exceeded
    ├── DeadlineExceeded                     504  deadline_exceeded
    │   └── ConnectionTimeout                408  deadline_exceeded     shared.connections.errors
    ├── NotConfigured                        503  not_configured
    │   └── AuthNotConfigured                503  auth_not_configured
    ├── UnusableEnvironment                  503  not_configured
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
        │   ├── AnswerTooLarge               502  provider_unavailable
        │   ├── DownloadFailed               502  provider_unavailable  shared.outbound.download
        │   └── ServerUnavailable            502  provider_unavailable  shared.connections.errors
        │       └── ServerAnswerTooLarge     502  provider_unavailable  shared.connections.errors
        └── ProviderTruncated                502  provider_truncated

A bug is not in the tree: it is answered with 500 ``internal_error`` and the request id, and logged.
"""

from shared.errors.base import (
    BUG,
    FIRST_CLIENT_ERROR,
    FIRST_SERVER_ERROR,
    Failure,
    GatewayError,
    Outcome,
    cut_text,
    failure_of,
)
from shared.errors.callers import (
    BudgetSpent,
    ForbiddenOrigin,
    InsufficientScope,
    InvalidToken,
    LimitReached,
    MisfitToken,
    ModelNotAllowed,
    PriceUnknown,
    RequestLimitReached,
    Unauthorized,
)
from shared.errors.complaints import (
    complaints_of,
    plain_complaints,
    plain_words,
    shorten,
)
from shared.errors.provider import (
    AnswerTooLarge,
    ConfiguredModelNotFound,
    ContentFiltered,
    ForwardedError,
    ProviderCredentials,
    ProviderDisconnected,
    ProviderError,
    ProviderNotFound,
    ProviderRejected,
    ProviderTruncated,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
)
from shared.errors.requests import (
    Conflict,
    DeadlineExceeded,
    ForbiddenAddress,
    IdempotencyMismatch,
    InvalidRequest,
    MalformedJson,
    MalformedRange,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    RequestTimeout,
    TooLarge,
    UnsatisfiableRange,
    UnsupportedMediaType,
)
from shared.errors.service import (
    AuthNotConfigured,
    NotConfigured,
    Overloaded,
    ShuttingDown,
    SigningKeysUnavailable,
    StorageUnavailable,
    TooManyDownloads,
    UnusableEnvironment,
)

__all__ = [
    "BUG",
    "FIRST_CLIENT_ERROR",
    "FIRST_SERVER_ERROR",
    "AnswerTooLarge",
    "AuthNotConfigured",
    "BudgetSpent",
    "ConfiguredModelNotFound",
    "Conflict",
    "ContentFiltered",
    "DeadlineExceeded",
    "Failure",
    "ForbiddenAddress",
    "ForbiddenOrigin",
    "ForwardedError",
    "GatewayError",
    "IdempotencyMismatch",
    "InsufficientScope",
    "InvalidRequest",
    "InvalidToken",
    "LimitReached",
    "MalformedJson",
    "MalformedRange",
    "MethodNotAllowed",
    "MisfitToken",
    "ModelNotAllowed",
    "NotAcceptable",
    "NotConfigured",
    "NotFound",
    "Outcome",
    "Overloaded",
    "PriceUnknown",
    "ProviderCredentials",
    "ProviderDisconnected",
    "ProviderError",
    "ProviderNotFound",
    "ProviderRejected",
    "ProviderTruncated",
    "ProviderUnavailable",
    "QuotaExceeded",
    "RateLimited",
    "RequestLimitReached",
    "RequestTimeout",
    "ShuttingDown",
    "SigningKeysUnavailable",
    "StorageUnavailable",
    "TooLarge",
    "TooManyDownloads",
    "Unauthorized",
    "UnsatisfiableRange",
    "UnsupportedMediaType",
    "UnusableEnvironment",
    "complaints_of",
    "cut_text",
    "failure_of",
    "plain_complaints",
    "plain_words",
    "shorten",
]
