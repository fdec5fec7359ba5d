"""What a session connects to, and what it offers to whoever uses it; free of the SDK."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from shared.connections.records import Negotiated, TransportName


class TokenSource(Protocol):
    """Has the token for a server."""

    async def token(self, rejected: str | None = None) -> str | None:
        """Returns the token to send, None where the server needs none.

        Args:
            rejected: The token that the server just refused.

        Raises:
            GatewayError: No token can be had.
        """
        ...


@dataclass(frozen=True, slots=True)
class FixedToken:
    """A token that never changes.

    Attributes:
        value: The token, None for no authentication.
    """

    value: str | None = field(repr=False)

    async def token(self, rejected: str | None = None) -> str | None:
        """Returns the token."""
        return self.value


@dataclass(frozen=True, slots=True)
class Target:
    """A server and how to get at it.

    Attributes:
        key: What sessions are shared by: the connection, of one principal.
        transport: How it is spoken to.
        url: Where it is; None for a command.
        argv: What to start; empty for a URL.
        tokens: What it knows us by.
        allow_private: Whether it may be at a private address, or be spoken to over http.
        connect_timeout: Seconds that connecting may take.
        negotiated: What it said of itself last time.
        remember: Keeps what it says now.
    """

    key: str
    transport: TransportName
    url: str | None = field(repr=False)
    argv: Sequence[str]
    tokens: TokenSource
    allow_private: bool
    connect_timeout: float
    negotiated: Negotiated | None
    remember: Callable[[Negotiated], Awaitable[None]]
