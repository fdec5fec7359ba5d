"""The root of errors, and what the log says of them."""

from collections.abc import Mapping
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
