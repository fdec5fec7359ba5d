"""Errors under `/v1`, in the format of OpenAI's API.

Source: https://platform.openai.com/docs/guides/error-codes
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.errors import (
    FIRST_SERVER_ERROR,
    BudgetSpent,
    ForwardedError,
    GatewayError,
    QuotaExceeded,
)
from shared.openai_service.forwarding import error_of

PREFIX = "/v1/"

_PASSED_HEADERS = ("retry-after", "retry-after-ms", "x-should-retry")
_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_INSUFFICIENT_QUOTA = "insufficient_quota"
_VALIDATION_FAILED = 422


def speaks_openai(path: str) -> bool:
    """Returns whether the routes of a path answer in OpenAI's format."""
    return path.startswith(PREFIX)


def openai_status(status: int) -> int:
    """Returns the status that OpenAI's API has for an error of ours: it validates with 400."""
    return 400 if status == _VALIDATION_FAILED else status


def openai_body(
    status: int, code: str, detail: str, errors: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Returns the body of an error.

    Args:
        status: Its HTTP status.
        code: What happened, for programs.
        detail: A sentence.
        errors: The fields that are wrong.
    """
    steps = errors[0]["loc"][1:] if errors else ()
    param = ".".join(str(step) for step in steps) or None
    kind = _TYPES.get(status, "invalid_request_error")
    if status >= FIRST_SERVER_ERROR:
        kind = "server_error"
    if code == QuotaExceeded.code:
        kind = code = _INSUFFICIENT_QUOTA
    return {"error": {"message": detail, "type": kind, "param": param, "code": code}}


def openai_headers(error: GatewayError) -> dict[str, str]:
    """Returns the headers of an error: OpenAI's clients repeat a spent quota unless they are told."""
    headers = dict(error.headers)
    if isinstance(error, ForwardedError):
        found = error.provider_headers
        headers = {name: found[name] for name in _PASSED_HEADERS if name in found}
        error = error.error
    if isinstance(error, QuotaExceeded | BudgetSpent):
        headers["x-should-retry"] = "false"
    return headers


def forwarded_body(error: ForwardedError) -> dict[str, Any]:
    """Returns the body of a provider's error, as it came where it is in OpenAI's format."""
    if found := error_of(error.body):
        return {"error": dict(found)}
    return openai_body(error.provider_status, error.error.code, error.error.detail)
