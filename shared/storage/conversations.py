"""Conversations: begun, continued, listed, read and deleted by their owner and nobody else."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.background import Background
from shared.errors import Conflict, NotFound, StorageUnavailable
from shared.parallel import gather_limited
from shared.storage.conversation_log import ConversationLog, Line, LogWriter, Place, Tail
from shared.storage.conversation_pages import (
    ConversationPage,
    ConversationSummary,
    PageCursor,
    read_page,
    summarize,
)
from shared.storage.ids import Operation, is_id
from shared.storage.media import MediaStore
from shared.storage.objects import ObjectMissing, RangeNotSatisfiable
from shared.storage.retries import keep_retrying
from shared.storage.service import Storage
from shared.storage.turns import OpenTurn, TurnWriter, busy

MAX_TITLE_CHARS = 80
_PARALLEL_READS = 8
_CLOCK_SKEW = timedelta(minutes=10)
"""How far the clocks of instances may differ when the lines of an earlier attempt are looked for."""

_ABANDON_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ConversationList:
    """A part of somebody's conversations, newest first.

    Attributes:
        cursor: Where the next part begins; None at the end.
    """

    conversations: tuple[ConversationSummary, ...]
    cursor: str | None


class ConversationStore:
    """The conversations of all principals.

    Args:
        storage: Where they are.
        media: Gives fresh links to what tools have made.
    """

    def __init__(self, storage: Storage, media: MediaStore) -> None:
        self._storage = storage
        self._media = media

    @property
    def is_configured(self) -> bool:
        """Whether conversations are stored at all."""
        return self._storage.is_configured

    @property
    def background(self) -> Background:
        """Where turns are ended whose request has no time left."""
        return self._storage.background

    async def begin_turn(
        self, principal: str, conversation_id: str | None, message: str, operation: Operation
    ) -> OpenTurn:
        """Stores what the user says; from then on nobody else may write until the turn ends.

        A repeat of the operation finds the conversation and the turn that the first run began: it
        gets the turn as it is where that is complete, and begins it anew where it is not.

        Args:
            principal: Whose conversation.
            conversation_id: Which; None for a new one.
            message: What the user says.
            operation: Gives the ids.

        Raises:
            NotFound: The principal has no such conversation.
            Conflict: It is being answered.
        """
        turn_id = operation.id("turn")
        chosen = conversation_id or operation.id("conversation")
        log = self._log(principal, chosen)
        tail = None
        if conversation_id is not None or operation.is_repeat:
            tail = await _find_tail(log)
        if tail is None and conversation_id is not None:
            raise _unknown(conversation_id)
        attempt = 1
        if tail is not None:
            is_ours = bool(tail.newest) and tail.newest[0].line["turn"] == turn_id
            if not is_ours and self._is_under_way(tail):
                raise self._busy()
            if operation.is_repeat:
                earlier = await _earlier_attempt(log, tail, turn_id, operation)
                if earlier and earlier[-1].get("status") == "complete":
                    return OpenTurn(chosen, turn_id, None, earlier)
                attempt = earlier[0]["attempt"] + 1 if earlier else 1
        lines: list[Line] = [{"type": "user", "content": message}]
        if tail is None:
            lines.insert(0, {"type": "conversation", "title": message[:MAX_TITLE_CHARS]})
        renewal = self._storage.timing.renewal
        writer = TurnWriter(LogWriter(log, tail, self._storage), turn_id, attempt, renewal)
        try:
            await writer.write(*lines)
        except Conflict as error:
            raise self._busy() from error
        except StorageUnavailable:
            # Where only the answer was lost the conversation would be locked until the lease is over.
            with keep_retrying(_ABANDON_SECONDS):
                await self.background.finish(writer.abandon(), 0)
            raise
        writer.keep_alive()
        return OpenTurn(chosen, turn_id, writer, earlier=tail)

    async def history(
        self, principal: str, turn: OpenTurn
    ) -> AsyncGenerator[tuple[Line, ...], None]:
        """Yields turns as their lines, the newest first; of several attempts at one only the last.

        Args:
            principal: Whose conversation.
            turn: The one that is being answered; what was said before it is yielded.
        """
        if turn.earlier is None:
            return
        log = self._log(principal, turn.conversation_id)
        seen = {turn.turn_id}
        group: list[Line] = []
        # Where it has been deleted since, the turn's next line will fail.
        with suppress(ObjectMissing):
            async with aclosing(log.backwards(turn.earlier)) as lines:
                async for placed in lines:
                    group.append(placed.line)
                    if placed.line["type"] != "user":
                        continue
                    if placed.line["turn"] not in seen:
                        seen.add(placed.line["turn"])
                        yield await self._refresh(principal, group[::-1])
                    group = []

    async def list(self, principal: str, limit: int, cursor: str | None) -> ConversationList:
        """Returns the next of a principal's conversations, newest first.

        Args:
            principal: Whose.
            limit: Most to return, up to 100.
            cursor: Where to begin, from the last page.

        Raises:
            ValueError: The cursor is not one that a listing gave.
        """
        state = self._storage.state
        prefix = ConversationLog(state, principal, "").name(1).removesuffix(".jsonl")
        page = await state.list(prefix, limit, cursor)
        ids = [each.name.removeprefix(prefix).removesuffix(".jsonl") for each in page.objects]
        found = await gather_limited(
            _PARALLEL_READS, (summarize(ConversationLog(state, principal, id_), id_) for id_ in ids)
        )
        return ConversationList(tuple(each for each in found if each), page.cursor)

    async def page(
        self, principal: str, conversation_id: str, limit: int, cursor: str | None = None
    ) -> ConversationPage:
        """Returns the newest messages of a conversation, or those before an earlier page.

        Args:
            principal: Whose conversation.
            conversation_id: Which.
            limit: Most messages to return.
            cursor: From the page that follows.

        Raises:
            NotFound: The principal has no such conversation.
            ValueError: The cursor is not one that a page gave.
        """
        at = PageCursor.parse(cursor)
        log = self._log(principal, conversation_id)
        summary = await summarize(log, conversation_id)
        if summary is None:
            raise _unknown(conversation_id)
        try:
            page = await read_page(log, summary, limit, at, self._storage.timing.lease)
        except (ObjectMissing, RangeNotSatisfiable, ValueError) as error:
            if cursor is None:
                raise _unknown(conversation_id) from error
            raise ValueError("This cursor is not one that a page gave.") from error
        return replace(page, messages=await self._refresh(principal, page.messages))

    async def delete(self, principal: str, conversation_id: str) -> None:
        """Deletes a conversation.

        Raises:
            NotFound: The principal has no such conversation.
            Conflict: It is being answered.
        """
        log = self._log(principal, conversation_id)
        tail = await _find_tail(log)
        if tail is None:
            raise _unknown(conversation_id)
        if self._is_under_way(tail):
            raise self._busy()
        await log.delete(tail.end.part)

    def _is_under_way(self, tail: Tail) -> bool:
        return tail.is_under_way(self._storage.timing.lease)

    def _busy(self) -> Conflict:
        return busy(self._storage.timing.renewal)

    async def _refresh(self, principal: str, lines: Sequence[Line]) -> tuple[Line, ...]:
        own_results = [line["result"] for line in lines if line.get("is_own")]
        return tuple(await self._media.refresh(principal, list(lines), own_results))

    def _log(self, principal: str, conversation_id: str) -> ConversationLog:
        # Without storage there is no telling whether an id is unknown.
        self._storage.check_configured()
        if not is_id(conversation_id):
            raise _unknown(conversation_id)
        return ConversationLog(self._storage.state, principal, conversation_id)


async def _find_tail(log: ConversationLog) -> Tail | None:
    try:
        tail = await log.tail()
    except ObjectMissing:
        return None
    # Whoever made an empty log died before its first line: nobody was told of such a conversation.
    return None if tail.end == Place(1, 0) else tail


async def _earlier_attempt(
    log: ConversationLog, tail: Tail, turn_id: str, operation: Operation
) -> tuple[Line, ...]:
    """Returns the lines of the last attempt at a turn, in order; none where there was no attempt."""
    found: list[Line] = []
    async with aclosing(log.backwards(tail)) as lines:
        async for placed in lines:
            line = placed.line
            if datetime.fromisoformat(line["at"]) < operation.began_at - _CLOCK_SKEW:
                break
            if line["turn"] == turn_id:
                found.append(line)
                if line["type"] == "user":
                    break
    return tuple(found[::-1])


def _unknown(conversation_id: str) -> NotFound:
    return NotFound(f"There is no conversation '{conversation_id}'.")
