"""What became of the HTTP requests of one operation, which the MCP SDK keeps to itself.

The SDK sends from tasks of its own: an exception there ends the whole session, and of a status of 400 or
more nothing but "an error response" is left. But it sends in the context of whoever called it, so the
transport can note here what happened.
"""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Exchange:
    """One operation's requests.

    Attributes:
        failure: What kept a request from being answered; None while nothing did.
        status: Status of the last answer.
        received: Bytes of all answers.
        failed: Set with ``failure``.
    """

    failure: Exception | None = None
    status: int | None = None
    received: int = 0
    failed: asyncio.Event = field(default_factory=asyncio.Event)

    def fail(self, error: Exception) -> None:
        """Notes what went wrong first."""
        if self.failure is None:
            self.failure = error
            self.failed.set()


current_exchange: ContextVar[Exchange | None] = ContextVar("current_exchange", default=None)
