"""Errors of connected servers, and the limit of the time that a server may take."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.deadline import remaining_seconds, time_limit
from shared.errors import (
    DeadlineExceeded,
    Failure,
    NotFound,
    ProviderCredentials,
    ProviderRejected,
    ProviderUnavailable,
)
from shared.outbound import AnswerTooLarge


class ServerUnavailable(ProviderUnavailable):
    """Raised when a connected server cannot be reached, fails, or answers unreadably."""

    @property
    def failure(self) -> Failure:
        """What the log says: a server that the caller chose is no provider of this app."""
        return Failure(self.code, "client_error")


class ServerAnswerTooLarge(ServerUnavailable, AnswerTooLarge):
    """Raised when a connected server's answer is longer than may be read, or costs more to read."""


class ServerRefused(ProviderRejected):
    """Raised when a connected server calls a request wrong; its message is passed on."""


class NotAuthorized(ProviderCredentials):
    """Raised when a connection has no credentials that its server takes."""

    @property
    def failure(self) -> Failure:
        """What the log says: the credentials are the caller's."""
        return Failure(self.code, "client_error")


class ConnectionTimeout(DeadlineExceeded):
    """Raised when a connected server does not answer in time: 408 at the manager's routes."""

    status = 408


class ConnectionEnded(NotFound):
    """Raised when a connection is ended while a call of it is under way."""

    def __init__(self) -> None:
        super().__init__(
            "The connection was ended while this call was under way. What came of the call is not known."
        )


def closed() -> ServerUnavailable:
    """Returns the error for a server that ends its session."""
    return ServerUnavailable("The MCP server closed the connection. Try again.")


def refusal(status: int) -> NotAuthorized | ServerUnavailable:
    """Returns the error for a status that a server should not have answered with."""
    if status in (401, 403):
        return NotAuthorized(
            f"The server answered {status}: it rejected the connection's credentials or requires some. "
            f"Connect again with the auth_type that it wants and valid credentials."
        )
    return ServerUnavailable(f"The MCP server failed with status {status}.")


@asynccontextmanager
async def answered_within(seconds: float, what: str = "The MCP server") -> AsyncIterator[None]:
    """Gives a server some of the call's time.

    Args:
        seconds: Maximum seconds that it may take.
        what: The server, for the error.

    Raises:
        ConnectionTimeout: It took longer.
        DeadlineExceeded: The call has no time left.
    """
    try:
        async with time_limit(seconds):
            yield
    except ConnectionTimeout:
        raise
    except DeadlineExceeded as error:
        if not remaining_seconds():
            raise
        raise ConnectionTimeout(f"{what} did not answer within {seconds:g} s.") from error
