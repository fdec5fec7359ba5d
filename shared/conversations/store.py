"""The conversations of each principal: begin, continue, list, read, delete."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress

from shared.background import Background
from shared.conversations.lines import (
    ConversationLine,
    EndLine,
    Line,
    LineT,
    Summary,
    ToolLine,
    UserLine,
    body_of,
    title_of,
    with_body,
)
from shared.conversations.log import (
    ConversationLog,
    KnownSizes,
    Tail,
    folder_of,
)
from shared.conversations.log_writer import LogWriter
from shared.conversations.pages import WRONG_CURSOR, PageCursor, read_page
from shared.conversations.runs import FoundLog, OpenRun, RunWriter, busy, last_attempt
from shared.conversations.view import (
    Conversation,
    ConversationList,
    ConversationSummary,
    last_change,
    present_message,
    present_summary,
    summarize,
    summarize_listed,
)
from shared.errors import Conflict, NotFound, StorageUnavailable
from shared.media_parts import StoredPart
from shared.parallel import gather_limited
from shared.storage import (
    MediaStore,
    ObjectMissing,
    Operation,
    RangeNotSatisfiable,
    ReadObjects,
    Storage,
    decode_cursor,
    encode_cursor,
    is_id,
    keep_retrying,
    list_ids,
)

_PARALLEL_READS = 8
_ABANDON_SECONDS = 30.0


class ConversationStore:
    """The conversations of all principals.

    Args:
        storage: The containers.
        media: Gives fresh links to media in stored results.
    """

    def __init__(self, storage: Storage, media: MediaStore) -> None:
        self._storage = storage
        self._media = media
        self._sizes = KnownSizes()
        self._ended: ReadObjects[ConversationSummary] = ReadObjects()

    @property
    def background(self) -> Background:
        """Ends the runs of requests whose time is over."""
        return self._storage.background

    async def find(
        self, principal: str, conversation_id: str | None, operation: Operation
    ) -> FoundLog:
        """Reads the end of a conversation, for `begin_run`.

        Args:
            principal: The principal whose conversation it is.
            conversation_id: The conversation; None for a new one.
            operation: Gives the id of a new one, which an earlier attempt may have begun.

        Raises:
            NotConfigured: There is no storage, so that there can be no such conversation.
            NotFound: This is no id of a conversation.
            StorageUnavailable: It cannot be read.
        """
        may_exist = conversation_id is not None or operation.is_repeat
        if not may_exist or (conversation_id is None and not self._storage.is_configured):
            return FoundLog()
        log = self._log(principal, conversation_id or operation.id("conversation"))
        return FoundLog(await log.find_tail())

    async def begin_run(
        self,
        principal: str,
        conversation_id: str | None,
        message: str,
        operation: Operation,
        parts: Sequence[StoredPart] = (),
        found: FoundLog | None = None,
    ) -> OpenRun:
        """Stores a message; from then on no other run may write until this one ends.

        A repeat of the operation finds the conversation and the run that the first attempt began: it
        gets the run as it is where that is complete, and begins it anew where it is not. Without storage
        a new conversation is answered all the same, and nothing is written.

        Args:
            principal: The principal whose conversation it is.
            conversation_id: The conversation; None for a new one.
            message: The text of the user's message.
            operation: Gives the ids.
            parts: The parts of the message, where it is not only a text.
            found: What `find` returned; where it is out of date another run is the only one to begin.

        Raises:
            NotConfigured: There is no storage, so that there can be no such conversation.
            NotFound: The principal has no such conversation.
            Conflict: It is being answered.
            StorageUnavailable: The message is not stored.
        """
        run_id = operation.id("run")
        said = UserLine(content=message, parts=tuple(parts))
        if conversation_id is None and not self._storage.is_configured:
            return OpenRun(None, run_id, None)
        chosen = conversation_id or operation.id("conversation")
        log = self._log(principal, chosen)
        found = found or await self.find(principal, conversation_id, operation)
        tail = found.tail
        if tail is None:
            if conversation_id is not None:
                raise _unknown(conversation_id)
            first = ConversationLine(title=title_of(message))
            summary = Summary(title=first.title, model=None, usage=None)
            writer = await self._begin(log, None, run_id, 1, summary, first, said)
            return OpenRun(chosen, run_id, writer)
        is_ours = bool(tail.newest) and tail.newest[0].line.run == run_id
        if not is_ours and self._is_under_way(tail):
            raise self._busy()
        attempted = await last_attempt(log, tail, run_id, operation) if operation.is_repeat else ()
        if attempted and isinstance(end := attempted[-1], EndLine) and end.status == "complete":
            return OpenRun(chosen, run_id, None, finished=attempted)
        attempt = attempted[0].attempt + 1 if attempted else 1
        summary = await summarize(log, tail)
        writer = await self._begin(log, tail, run_id, attempt, summary, said)
        return OpenRun(chosen, run_id, writer, earlier=tail)

    async def history(self, principal: str, run: OpenRun) -> AsyncGenerator[Sequence[Line], None]:
        """Yields the lines of each earlier run, the newest first; of several attempts only the last.

        Args:
            principal: The principal whose conversation it is.
            run: The run that is being answered; those before it are yielded.
        """
        if run.conversation_id is None or run.earlier is None:
            return
        log = self._log(principal, run.conversation_id)
        seen = {run.run_id}
        group: list[Line] = []
        # Where the conversation has been deleted since, the next write of the run fails.
        with suppress(ObjectMissing):
            async with aclosing(log.backwards(run.earlier)) as lines:
                async for placed in lines:
                    group.append(placed.line)
                    if not isinstance(placed.line, UserLine):
                        continue
                    if placed.line.run not in seen:
                        seen.add(placed.line.run)
                        yield await self._refresh(principal, group[::-1])
                    group = []

    async def list(self, principal: str, limit: int, cursor: str | None) -> ConversationList:
        """Returns the next of a principal's conversations, newest first.

        It takes one listing of storage, and one read for each conversation that is not being answered,
        unless this instance has read it since it changed.

        Args:
            principal: The principal.
            limit: Maximum conversations to return, up to 100.
            cursor: The cursor of the page before; None for the first page.

        Raises:
            ValueError: The cursor is not one that a page returned.
        """
        state, prefix = self._storage.state, folder_of(principal)
        page = await state.list(prefix, limit, cursor and decode_cursor(cursor))
        infos = {
            info.name.removeprefix(prefix).removesuffix(".jsonl"): info for info in page.objects
        }
        found = await gather_limited(
            _PARALLEL_READS,
            (
                summarize_listed(
                    ConversationLog(state, principal, id_, self._sizes), id_, info, self._ended
                )
                for id_, info in infos.items()
            ),
        )
        return ConversationList(
            conversations=[each for each in found if each],
            cursor=page.cursor and encode_cursor(page.cursor),
        )

    async def ids(self, principal: str, begin: str, limit: int) -> Sequence[str]:
        """Returns the newest ids of a principal's conversations that begin with a text."""
        return await list_ids(self._storage.state, folder_of(principal), begin, limit)

    async def page(
        self, principal: str, conversation_id: str, limit: int, cursor: str | None = None
    ) -> Conversation:
        """Returns the newest messages of a conversation, or those before a later page.

        Args:
            principal: The principal whose conversation it is.
            conversation_id: The conversation.
            limit: Maximum messages to return.
            cursor: The cursor of the page after it; None for the newest messages.

        Raises:
            NotFound: The principal has no such conversation.
            ValueError: The cursor is not one that a page returned.
        """
        at = PageCursor.parse(cursor)
        log = self._log(principal, conversation_id)
        tail = await log.find_tail()
        if tail is None:
            raise _unknown(conversation_id)
        try:
            page = await read_page(log, tail, limit, at, self._storage.timing.lease)
            summary = await summarize(log, tail)
        except (ObjectMissing, RangeNotSatisfiable, ValueError) as error:
            if cursor is None:
                raise _unknown(conversation_id) from error
            raise ValueError(WRONG_CURSOR) from error
        lines = await self._refresh(principal, [line for line, _ in page.messages])
        messages = [
            present_message(line, incomplete=is_broken_off)
            for line, (_, is_broken_off) in zip(lines, page.messages, strict=True)
        ]
        return Conversation(
            **present_summary(conversation_id, summary, last_change(conversation_id, tail)),
            messages=messages,
            cursor=page.cursor,
        )

    async def delete(self, principal: str, conversation_id: str) -> None:
        """Deletes a conversation.

        Raises:
            NotFound: The principal has no such conversation.
            Conflict: It is being answered.
        """
        log = self._log(principal, conversation_id)
        tail = await log.find_tail()
        if tail is None:
            raise _unknown(conversation_id)
        if self._is_under_way(tail):
            raise self._busy()
        await log.delete(tail.end.part)

    async def _begin(
        self,
        log: ConversationLog,
        tail: Tail | None,
        run_id: str,
        attempt: int,
        summary: Summary,
        *lines: Line,
    ) -> RunWriter:
        renewal = self._storage.timing.renewal
        writer = RunWriter(LogWriter(log, tail, self._storage), run_id, attempt, summary, renewal)
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
        return writer

    def _is_under_way(self, tail: Tail) -> bool:
        return tail.is_under_way(self._storage.timing.lease)

    def _busy(self) -> Conflict:
        return busy(self._storage.timing.renewal)

    async def _refresh(self, principal: str, lines: Sequence[LineT]) -> Sequence[LineT]:
        own_results = [line.result for line in lines if isinstance(line, ToolLine) and line.is_own]
        bodies = [body_of(line) for line in lines]
        fresh = await self._media.refresh(principal, bodies, own_results)
        return [with_body(line, body) for line, body in zip(lines, fresh, strict=True)]

    def _log(self, principal: str, conversation_id: str) -> ConversationLog:
        # Without storage there is no telling whether an id is unknown.
        self._storage.check_configured()
        if not is_id(conversation_id):
            raise _unknown(conversation_id)
        return ConversationLog(self._storage.state, principal, conversation_id, self._sizes)


def _unknown(conversation_id: str) -> NotFound:
    return NotFound(f"There is no conversation '{conversation_id}'.")
