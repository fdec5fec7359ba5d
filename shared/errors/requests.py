"""Errors of what a request asks for, and of how it does."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from shared.errors.base import GatewayError
from shared.errors.complaints import describe_complaints, shorten


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


class MalformedJson(InvalidRequest):
    """Raised when a body is not JSON at all."""

    status = 400


class NotAcceptable(InvalidRequest):
    """Raised when the header ``Accept`` leaves out a kind of answer that may be needed."""

    status = 406


class UnsupportedMediaType(InvalidRequest):
    """Raised when the header ``Content-Type`` names what a route does not read."""

    status = 415


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


class RequestTimeout(GatewayError):
    """Raised when a request body stops coming.

    Args:
        seconds: How long nothing came.
    """

    status = 408
    code = "request_timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The request body is not complete, and nothing of it came for {seconds:g} seconds. "
            "Send the request again; if it has a Content-Length, check it against the body."
        )

    @property
    def headers(self) -> Mapping[str, str]:
        """That the connection ends: the rest may still come (RFC 9110, section 15.5.9)."""
        return {"Connection": "close"}


class DeadlineExceeded(GatewayError):
    """Raised when the budget of a request is used up."""

    status = 504
    code = "deadline_exceeded"
