"""One turn of a conversation while it is written: who may write, and that it is still alive."""

import logging
from dataclasses import dataclass

from shared.errors import Conflict, GatewayError
from shared.storage.conversation_log import Line, LogWriter, Tail
from shared.storage.leases import Renewal
from shared.storage.objects import ObjectConflict

logger = logging.getLogger(__name__)


class TurnWriter:
    """Writes the lines of one turn, and heartbeat lines that keep the lease.

    Args:
        writer: Appends to the log.
        turn_id: The turn.
        attempt: Counts the runs of the turn; readers leave out all but the last.
        renewal_seconds: Seconds between heartbeat lines.
    """

    def __init__(
        self, writer: LogWriter, turn_id: str, attempt: int, renewal_seconds: float
    ) -> None:
        self._writer = writer
        self._renewal_seconds = renewal_seconds
        self._stamp = {"turn": turn_id, "attempt": attempt}
        self._is_closed = False
        self._renewal: Renewal | None = None

    async def write(self, *lines: Line) -> None:
        """Stores lines together.

        Args:
            lines: What to store.

        Raises:
            Conflict: Another request has taken the conversation over, or deleted it.
            StorageUnavailable: They are not stored.
        """
        try:
            stamped = ({**line, **self._stamp} for line in lines)
            await self._writer.append(*stamped)
        except ObjectConflict as error:
            raise Conflict(
                "Another request has taken this conversation over, or it was deleted.",
                self._renewal_seconds,
            ) from error

    def keep_alive(self) -> None:
        """Begins to write a line now and then."""
        self._renewal = Renewal(self._renew, self._renewal_seconds)

    async def close(self, *lines: Line) -> None:
        """Writes the last lines; afterwards the next turn may begin.

        After it has failed it may be called again, with other lines: these are written unless the first
        ones are stored after all.

        Args:
            lines: What to store.

        Raises:
            Conflict: Another request has taken the conversation over, or deleted it.
            StorageUnavailable: They are not stored.
        """
        is_repeat, self._is_closed = self._is_closed, True
        if self._renewal is not None:
            self._renewal.stop()
        try:
            if not (is_repeat and await self._writer.settle()):
                await self.write(*lines)
        finally:
            if self._renewal is not None:
                await self._renewal.wait()

    async def abandon(self) -> None:
        """Ends a turn whose first lines may be stored though writing them failed."""
        if await self._writer.settle():
            end = {"type": "end", "status": "incomplete", "error": None, "usage": None}
            await self.write(end)

    async def _renew(self) -> bool:
        try:
            await self.write({"type": "alive"})
        except Conflict:
            # The next line that matters will say so.
            return False
        except GatewayError as error:
            logger.warning("A turn could not be kept alive: %s", error.code)
        return True


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


def busy(retry_after: float) -> Conflict:
    """Returns the error for a conversation that is being answered."""
    return Conflict(
        "This conversation is being answered. Try again after the time in Retry-After.",
        retry_after,
    )
