"""One message and its answer while it is made: what the model is sent, and what is stored."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from types import TracebackType
from typing import Self

from shared.agent.calls import storable
from shared.agent.events import (
    AgentAnswer,
    ChatAnswer,
    ChatInput,
    HistoryInput,
    ToolCallRecord,
    ToolFinished,
    with_cost,
)
from shared.agent.history import (
    Message,
    answer_of,
    assistant_message,
    estimate_tokens,
    select_history,
)
from shared.connections import ConnectionProblem
from shared.context import USD_PLACES, CallContext
from shared.conversations import (
    AssistantLine,
    ConversationStore,
    FoundLog,
    Line,
    OpenRun,
    RunWriter,
    ToolLine,
)
from shared.deadline import remaining_seconds
from shared.errors import Conflict, DeadlineExceeded, GatewayError, StorageUnavailable
from shared.media_parts import MediaParts, PreparedPart, plain_text
from shared.openai_service import Completion, ToolCall, Usage, sum_usage
from shared.storage import keep_retrying

GIVE_UP_SECONDS = 30.0
"""Seconds for which writing the end of a run that was broken off is retried while storage fails."""

logger = logging.getLogger(__name__)


class ChatRun:
    """One message and its answer: begun in a conversation, stored step by step, and ended in any case.

    Each step is stored before the caller is told of it, but for the pieces of a text: these are stored
    together when the text is complete, or broken off.

    Args:
        conversations: Stores it.
        media_parts: Has the files of messages.
        chat: The message; or a whole conversation, of which nothing is stored.
        context: The principal, and the operation that gives the ids.
        found: What was found of the conversation; None to have it looked for.
    """

    def __init__(
        self,
        conversations: ConversationStore,
        media_parts: MediaParts,
        chat: ChatInput | HistoryInput,
        context: CallContext,
        found: FoundLog | None = None,
    ) -> None:
        self.chat = chat
        self._found = found
        self._conversations = conversations
        self._media_parts = media_parts
        self._parts: Sequence[PreparedPart] = ()
        self._context = context
        self._opened: OpenRun
        self._messages: list[Message] = []
        self._results: dict[str, Message] = {}
        self._records: list[ToolCallRecord] = []
        self._usages: list[Usage | None] = []
        self._model: str | None = None
        self._texts: list[str] = []
        self._is_ended = False

    @property
    def conversation_id(self) -> str | None:
        """The conversation; None where none is stored."""
        return self._opened.conversation_id

    @property
    def answer(self) -> AgentAnswer | None:
        """The answer of an earlier attempt at the same operation; None where there was none."""
        finished = self._opened.finished
        return answer_of(finished, self.conversation_id) if finished else None

    @property
    def turns(self) -> int:
        """Number of model calls so far."""
        return len(self._usages)

    @property
    def _cost(self) -> float | None:
        cost = self._context.usage.cost
        return None if cost is None else round(cost, USD_PLACES)

    @property
    def messages(self) -> Sequence[Message]:
        """The messages for the model; results stand in the order of the calls."""
        return [*self._messages, *self._results.values()]

    async def __aenter__(self) -> Self:
        context = self._context
        if isinstance(self.chat, HistoryInput):
            self._opened = OpenRun(None, context.operation.id("run"), None)
            return self
        owner, message = context.principal.name, self.chat.message
        if not isinstance(message, str):
            self._parts = await self._media_parts.prepare(
                owner, message, context.operation, "message"
            )
        stored = [part.stored for part in self._parts]
        beginning = asyncio.create_task(
            self._conversations.begin_run(
                owner,
                self.chat.conversation_id,
                message if isinstance(message, str) else plain_text(stored),
                context.operation,
                stored,
                self._found,
            )
        )
        try:
            self._opened = await asyncio.shield(beginning)
        except BaseException as error:
            # Cancelled in the middle: a run that was begun has to be ended all the same.
            await self._conversations.background.finish(self._undo(beginning, error))
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and not self._is_ended:
            await self._conversations.background.finish(self._give_up(error))

    async def load(self, system_prompt: str, max_tokens: int) -> None:
        """Begins the messages with the instructions, the history and the message.

        Args:
            system_prompt: The instructions.
            max_tokens: Maximum tokens of all of them; a history that the caller sends is never cut.
        """
        system = {"role": "system", "content": system_prompt}
        if isinstance(self.chat, HistoryInput):
            self._messages = [system] * bool(system_prompt) + [*self.chat.messages]
            return
        owner = self._context.principal.name
        await self._media_parts.keep(owner, self._parts)
        content = [each for part in self._parts for each in part.content] or self.chat.message
        self._messages = [system, {"role": "user", "content": content}]
        if self.chat.conversation_id is not None:
            stored = [part.stored for part in self._parts]
            said = {"role": "user", "content": stored or self.chat.message}
            left = max_tokens - estimate_tokens([system, said])
            runs = self._conversations.history(owner, self._opened)
            async with aclosing(runs):
                history = await select_history(runs, left)
            used_bytes = sum(part.size_bytes for part in stored)
            self._messages[1:1] = await self._media_parts.load(owner, history, used_bytes)

    def add_text(self, text: str) -> None:
        """Adds a piece of text that the caller is told of."""
        self._texts.append(text)

    async def add_calls(self, completion: Completion) -> None:
        """Stores an answer of the model that calls tools."""
        line = self._add(completion)
        self._texts.clear()
        await self._write(line)
        self._messages = [*self.messages]
        message, self._results = assistant_message(line)
        self._messages.append(message)

    async def add_results(self, *finished: ToolFinished) -> None:
        """Stores results of tools, together."""
        if finished:
            await self._write(*map(_tool_line, finished))
        for event in finished:
            self._records.append(event.record)
            self._results[event.id]["content"] = event.text

    async def complete(
        self,
        completion: Completion,
        problems: Sequence[ConnectionProblem],
        client_calls: Sequence[ToolCall] = (),
    ) -> AgentAnswer:
        """Stores the last answer of the model, ends the run and returns the whole answer.

        Args:
            completion: The last answer.
            problems: Connections whose tools are missing.
            client_calls: Calls of it that the caller has to make.
        """
        self._is_ended = True
        # Calls that may not be made any more are not stored: they would have no results.
        line = replace(self._add(completion), tool_calls=())
        answer = AgentAnswer(
            answer=completion.text,
            conversation_id=self.conversation_id,
            model=completion.model,
            finish_reason=completion.finish_reason,
            tool_calls=self._records,
            usage=with_cost(sum_usage(self._usages), self._cost),
            turns=self.turns,
        )
        if problems:
            answer["connection_problems"] = [asdict(problem) for problem in problems]
        if client_calls:
            answer["client_calls"] = [call.as_message_part() for call in client_calls]
        if (writer := self._opened.writer) is not None:
            # Not cut off by whatever ends the request: the next message waits for this.
            with keep_retrying():
                is_stored = await self._conversations.background.finish(
                    self._end(writer, line, answer), remaining_seconds()
                )
            if not is_stored:
                raise self._context.deadline.exceeded()
        return answer

    def _add(self, completion: Completion) -> AssistantLine:
        self._usages.append(completion.usage)
        self._model = completion.model
        return AssistantLine(
            content=completion.text,
            tool_calls=completion.tool_calls,
            model=completion.model,
            usage=completion.usage,
        )

    async def _write(self, *lines: Line) -> None:
        if (writer := self._opened.writer) is not None:
            with keep_retrying():
                await writer.write(*lines)

    async def _end(self, writer: RunWriter, line: AssistantLine, answer: ChatAnswer) -> None:
        try:
            await writer.close(
                line,
                status="complete",
                model=answer["model"],
                finish_reason=answer["finish_reason"],
                usage=sum_usage(self._usages),
                turns=answer["turns"],
                cost_usd=self._cost,
            )
        except StorageUnavailable as error:
            await self._give_up(error)
            raise

    async def _undo(self, beginning: "asyncio.Task[OpenRun]", error: BaseException) -> None:
        await asyncio.wait([beginning])
        if not beginning.cancelled() and beginning.exception() is None:
            self._opened = beginning.result()
            await self._give_up(error)

    def _code(self, error: BaseException) -> str | None:
        if isinstance(error, GatewayError):
            return error.code
        # The scope of the call turns its cancellation into this error further out.
        is_late = not (isinstance(error, Exception) or self._context.deadline.remaining())
        return DeadlineExceeded.code if is_late else None

    async def _give_up(self, error: BaseException) -> None:
        self._is_ended = True
        writer = self._opened.writer
        if writer is None:
            return
        text = "".join(self._texts)
        try:
            with keep_retrying(GIVE_UP_SECONDS):
                await writer.close(
                    *([AssistantLine(content=text)] if text else ()),
                    status="incomplete",
                    error=self._code(error),
                    model=self._model,
                    usage=sum_usage(self._usages),
                    turns=self.turns,
                    cost_usd=self._cost,
                )
        except Conflict:
            logger.warning("A run was broken off because another one took its conversation over")
        except GatewayError as failure:
            logger.warning("The end of a run was not stored: %s", failure.code)


def _tool_line(event: ToolFinished) -> ToolLine:
    record = event.record
    return ToolLine(
        call_id=event.id,
        name=record["name"],
        result=storable(record["result"]),
        is_own=event.is_own,
        is_error=record["is_error"],
        duration_ms=record["duration_ms"],
    )
