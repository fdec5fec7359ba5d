"""One turn of a conversation while it is written: who may write, and that it is still alive."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.errors import Conflict, GatewayError
from shared.storage.conversation_log import Line, LogWriter, Tail
from shared.storage.objects import ObjectConflict

LEASE_SECONDS = 20.0
"""How long a turn is taken to be under way after its newest line."""

RENEWAL_SECONDS = 5.0

logger = logging.getLogger(__name__)


class TurnWriter:
    """Writes the lines of one turn, and one now and then that only says that it goes on.

    Args:
        writer: Appends to the log.
        turn_id: The turn.
        attempt: Counts the runs of the turn; readers leave out all but the last.
    """

    def __init__(self, writer: LogWriter, turn_id: str, attempt: int) -> None:
        self._writer = writer
        self._stamp = {"turn": turn_id, "attempt": attempt}
        self._is_over = asyncio.Event()
        self._renewal: asyncio.Task[None] | None = None

    async def write(self, *lines: Line) -> None:
        """Stores lines together.

        Raises:
            Conflict: Somebody else has taken the conversation over, or deleted it.
            StorageUnavailable: They are not stored.
        """
        try:
            await self._writer.append(*({**line, **self._stamp} for line in lines))
        except ObjectConflict as error:
            raise Conflict(
                "Another request has taken this conversation over, or it was deleted.",
                RENEWAL_SECONDS,
            ) from error

    def keep_alive(self) -> None:
        """Begins to write a line now and then."""
        self._renewal = asyncio.create_task(self._renew())

    async def close(self, *lines: Line) -> None:
        """Writes the last lines; afterwards the next turn may begin.

        Raises:
            Conflict: Somebody else has taken the conversation over, or deleted it.
            StorageUnavailable: They are not stored.
        """
        self._is_over.set()
        try:
            await self.write(*lines)
        finally:
            if self._renewal is not None:
                await self._renewal

    async def _renew(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_over.wait(), RENEWAL_SECONDS)
            if self._is_over.is_set():
                return
            try:
                await self.write({"type": "alive"})
            except Conflict:
                # The next line that matters will say so.
                return
            except GatewayError as error:
                logger.warning("A turn could not be kept alive: %s", error.code)


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A turn that has begun.

    Attributes:
        conversation_id: Its conversation.
        turn_id: Its id.
        writer: Takes what is said; None where an earlier run has completed the turn.
        finished: That run's lines, in the order in which they were written.
        earlier: The end of what was said before; None for a new conversation.
    """

    conversation_id: str
    turn_id: str
    writer: TurnWriter | None
    finished: tuple[Line, ...] = ()
    earlier: Tail | None = None


def is_under_way(newest: Line) -> bool:
    """Returns whether somebody is in the middle of the turn that a log's newest line belongs to."""
    if newest["type"] == "end":
        return False
    written_at = datetime.fromisoformat(newest["at"])
    return datetime.now(UTC) < written_at + timedelta(seconds=LEASE_SECONDS)


def busy() -> Conflict:
    """Returns the error for a conversation that is being answered."""
    return Conflict(
        "This conversation is being answered. Try again after the time in Retry-After.",
        RENEWAL_SECONDS,
    )
