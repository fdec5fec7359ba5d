"""One run of a conversation while it is written: a message, its answer, and the lease until the end."""

import logging
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from shared.conversations.lines import (
    EndLine,
    HeartbeatLine,
    Line,
    Summary,
    UserLine,
    extend_summary,
)
from shared.conversations.log import ConversationLog, Tail
from shared.conversations.log_writer import LogWriter
from shared.errors import Conflict, GatewayError
from shared.openai_service import Usage
from shared.storage import ObjectConflict, Operation, Renewal

_CLOCK_SKEW = timedelta(minutes=10)
"""Maximum difference of the clocks of instances when the lines of an earlier attempt are looked for."""

logger = logging.getLogger(__name__)


class RunWriter:
    """Writes the lines of one run, and heartbeat lines that keep its lease.

    Args:
        writer: Appends to the log.
        run_id: Id of the run.
        attempt: Counts the attempts at the run, from 1; readers leave out all but the last.
        summary: The conversation's summary before the run.
        renewal_seconds: Seconds between heartbeat lines.
    """

    def __init__(
        self,
        writer: LogWriter,
        run_id: str,
        attempt: int,
        summary: Summary,
        renewal_seconds: float,
    ) -> None:
        self._writer = writer
        self._run_id = run_id
        self._attempt = attempt
        self._summary = summary
        self._renewal_seconds = renewal_seconds
        self._is_closed = False
        self._renewal: Renewal | None = None

    async def write(self, *lines: Line) -> None:
        """Stores lines together.

        Args:
            lines: The lines.

        Raises:
            Conflict: Another request has taken the conversation over, or deleted it.
            StorageUnavailable: They are not stored.
        """
        stamped = (replace(line, run=self._run_id, attempt=self._attempt) for line in lines)
        try:
            await self._writer.append(*stamped)
        except ObjectConflict as error:
            raise Conflict(
                "Another request has taken this conversation over, or it was deleted.",
                self._renewal_seconds,
            ) from error

    def keep_alive(self) -> None:
        """Begins to write heartbeat lines."""
        self._renewal = Renewal(self._renew, self._renewal_seconds)

    async def close(
        self,
        *lines: Line,
        status: Literal["complete", "incomplete"],
        error: str | None = None,
        model: str | None = None,
        finish_reason: str | None = None,
        usage: Usage | None = None,
        turns: int = 0,
        cost_usd: float | None = None,
    ) -> None:
        """Writes the last lines; afterwards the next run may begin.

        After it has failed it may be called again, with other lines: these are written unless the first
        ones are stored after all.

        Args:
            lines: The lines before the end.
            status: Whether the answer is complete.
            error: Code of the error that broke the run off.
            model: The model that answered; None where none did.
            finish_reason: Why it stopped.
            usage: Tokens of the run's model calls; None where the provider reported none.
            turns: Number of model calls.
            cost_usd: US dollars of the run; None where nobody knows.

        Raises:
            Conflict: Another request has taken the conversation over, or deleted it.
            StorageUnavailable: They are not stored.
        """
        end = EndLine(
            status=status,
            error=error,
            model=model,
            finish_reason=finish_reason,
            usage=usage,
            turns=turns,
            cost_usd=cost_usd,
            summary=extend_summary(self._summary, model, usage),
        )
        is_repeat, self._is_closed = self._is_closed, True
        if self._renewal is not None:
            self._renewal.stop()
        try:
            if not (is_repeat and await self._writer.was_stored()):
                await self.write(*lines, end)
        finally:
            if self._renewal is not None:
                await self._renewal.wait()

    async def abandon(self) -> None:
        """Ends a run whose first lines may be stored though writing them failed."""
        if await self._writer.was_stored():
            await self.close(status="incomplete")

    async def _renew(self) -> bool:
        try:
            await self.write(HeartbeatLine())
        except Conflict:
            # The next line that matters meets the same conflict, and reports it.
            return False
        except GatewayError as error:
            logger.warning("The lease of a conversation was not renewed: %s", error.code)
        return True


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that has begun.

    Attributes:
        conversation_id: Its conversation; None where conversations are not stored.
        run_id: Its id.
        writer: Writes its lines; None where there is nothing to write.
        finished: The lines of an earlier attempt that completed the run, in the order of their writing.
        earlier: The end of the log before the run; None for a new conversation.
    """

    conversation_id: str | None
    run_id: str
    writer: RunWriter | None
    finished: Sequence[Line] = ()
    earlier: Tail | None = None


@dataclass(frozen=True, slots=True)
class FoundLog:
    """What was found of a conversation before a run begins in it.

    Attributes:
        tail: The end of its log; None where there is no log.
    """

    tail: Tail | None = None


async def last_attempt(
    log: ConversationLog, tail: Tail, run_id: str, operation: Operation
) -> Sequence[Line]:
    """Returns the lines of the last attempt at a run, in order; none where there was no attempt.

    Args:
        log: The conversation.
        tail: Its end.
        run_id: Id of the run.
        operation: Tells when the first attempt began.
    """
    found: list[Line] = []
    async with aclosing(log.backwards(tail)) as lines:
        async for placed in lines:
            line = placed.line
            if datetime.fromisoformat(line.at) < operation.began_at - _CLOCK_SKEW:
                break
            if line.run == run_id:
                found.append(line)
                if isinstance(line, UserLine):
                    break
    return found[::-1]


def busy(retry_after: float) -> Conflict:
    """Returns the error for a conversation that is being answered."""
    return Conflict(
        "This conversation is being answered. Try again after the time in Retry-After.",
        retry_after,
    )
