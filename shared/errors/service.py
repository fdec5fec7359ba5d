"""Errors of this app: its settings, its storage, and its load."""

from collections.abc import Mapping

from shared.errors.base import GatewayError


class NotConfigured(GatewayError):
    """Raised when a capability needs settings that are missing; the sentence names them."""

    status = 503
    code = "not_configured"


class AuthNotConfigured(NotConfigured):
    """Raised in Azure while no key is configured, so that nothing is open by accident."""

    code = "auth_not_configured"

    def __init__(self) -> None:
        super().__init__(
            "No API key is configured. "
            "Set API_KEYS, MCP_API_KEY or MCP_SERVER_API_KEY in the app settings, or ENTRA_TENANT_ID "
            "and ENTRA_CLIENT_ID."
        )


class UnusableEnvironment(GatewayError):
    """Raised when a variable for certificates or proxies cannot be used; the sentence names it."""

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
