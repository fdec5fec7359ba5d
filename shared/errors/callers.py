"""Errors of who calls: who it is, what they may do, and how much."""

from collections.abc import Mapping, Sequence

from shared.errors.base import GatewayError, cut_text

_MAX_SHOWN_CHARS = 128
_MAX_SHOWN_PATTERNS = 20


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
        shown = cut_text(model, _MAX_SHOWN_CHARS)
        allowed = ", ".join(patterns[:_MAX_SHOWN_PATTERNS]) or "none"
        super().__init__(
            f"The model '{shown}' may not be used here. Name one of these in 'model': {allowed}. The "
            "key's 'models' and the setting ALLOWED_MODELS say which."
        )


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
