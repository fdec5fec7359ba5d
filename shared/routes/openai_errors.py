"""Errors under `/v1`, in the format of OpenAI's API.

Sources: https://platform.openai.com/docs/guides/error-codes and
https://platform.openai.com/docs/api-reference/responses-streaming/error
"""

import re
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from pydantic_core import to_json

from shared.errors import (
    FIRST_SERVER_ERROR,
    BudgetSpent,
    ForwardedError,
    GatewayError,
    QuotaExceeded,
)
from shared.openai_service.forwarded_answer import error_of

PREFIX = "/v1/"

_PASSED_HEADERS = ("retry-after", "retry-after-ms", "x-should-retry")
_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_INSUFFICIENT_QUOTA = "insufficient_quota"
_SEQUENCE_NUMBER = re.compile(rb'"sequence_number"\s*:\s*(\d{1,15})\b')
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
    if error.retry_after is not None and "Retry-After" in headers:
        # Clients take it before the other one, which has whole seconds.
        headers["retry-after-ms"] = str(max(1, ceil(error.retry_after * 1000)))
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


def error_event(body: Mapping[str, Any]) -> bytes:
    """Returns the event that ends a stream which failed.

    OpenAI's clients take data with an ``error`` for the end, and wait for no ``[DONE]``.

    Args:
        body: The body that the answer would have had.
    """
    return b"data: " + to_json(body) + b"\n\n"


def response_error_event(body: Mapping[str, Any], last: bytes) -> bytes:
    """Returns the event ``error`` of the Responses API, which ends a stream that failed.

    Its fields are those of the reference; clients raise for the ``error`` that OpenAI sends beside them.

    Args:
        body: The body that the answer would have had.
        last: The events that were sent last, of which the number is the one before.
    """
    numbers = _SEQUENCE_NUMBER.findall(last)
    error = body["error"]
    data = {
        "type": "error",
        "sequence_number": int(numbers[-1]) + 1 if numbers else 0,
        **{name: error.get(name) for name in ("code", "message", "param")},
        "error": error,
    }
    return b"event: error\ndata: " + to_json(data) + b"\n\n"
