"""What a session connects to: a server, and the token that it takes; free of the SDK."""

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
    """A server, and how to connect to it.

    Attributes:
        key: The connection of one principal; calls with the same key share a session.
        transport: The transport of the protocol.
        url: Its URL; None for a command.
        argv: The command that starts it, and its arguments; empty for a URL.
        tokens: Has the token that it is sent.
        allow_private: Whether private addresses and plain http are allowed.
        connect_timeout: Seconds that connecting may take.
        negotiated: What it said of itself last time; None where that is not known.
        remember: Stores what it says of itself now.
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
