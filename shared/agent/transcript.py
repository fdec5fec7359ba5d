"""What is stored of a turn while it happens, so that the history equals what the caller was told."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

from pydantic_core import to_json

from shared.agent.calls import MAX_RESULT_CHARS, cut, decode_arguments
from shared.agent.events import ChatAnswer, ToolCallRecord, ToolFinished
from shared.agent.history import Message, estimate_tokens, media_links, select_history
from shared.background import Background
from shared.context import CallContext
from shared.deadline import remaining_seconds
from shared.errors import Conflict, DeadlineExceeded, GatewayError, StorageUnavailable
from shared.openai_service import Completion, Usage, sum_usage
from shared.storage import ConversationStore, Line, OpenTurn, TurnWriter, keep_retrying

GIVE_UP_SECONDS = 30.0
"""How long the end of a turn that was broken off is tried to be stored while storage fails."""

logger = logging.getLogger(__name__)


class Transcript:
    """One turn: begun in a conversation, written down step by step, and ended in any case.

    Each step is stored before the caller is told of it, but for the pieces of a text: these are stored
    together when the text is complete, or broken off.

    Args:
        conversations: Where the turn is stored; None stores nothing.
        conversation_id: The conversation to continue; None for a new one.
        message: What the user says.
        context: Whose turn it is, and what it is called in storage.
    """

    def __init__(
        self,
        conversations: ConversationStore | None,
        conversation_id: str | None,
        message: str,
        context: CallContext,
    ) -> None:
        self._conversations = conversations
        self._given_id = conversation_id
        self._message = message
        self._context = context
        self._turn: OpenTurn | None = None
        self._texts: list[str] = []
        self._usages: list[Usage | None] = []
        self._is_ended = False
        self._background = conversations.background if conversations else Background()

    @property
    def conversation_id(self) -> str | None:
        """The conversation; None where none is stored."""
        return self._turn.conversation_id if self._turn else None

    @property
    def answer(self) -> ChatAnswer | None:
        """What an earlier run of the same operation has answered completely."""
        if self._turn is None or not self._turn.finished:
            return None
        return answer_of(self._turn.finished, self._turn.conversation_id)

    async def __aenter__(self) -> Self:
        if self._conversations is None:
            return self
        context = self._context
        beginning = asyncio.create_task(
            self._conversations.begin_turn(
                context.principal.name, self._given_id, self._message, context.operation
            )
        )
        try:
            self._turn = await asyncio.shield(beginning)
        except BaseException as error:
            # Cut off in the middle: what was begun has to be ended all the same.
            await self._background.finish(self._undo(beginning, error))
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and not self._is_ended:
            await self._background.finish(self._give_up(error))

    async def history(self, system_prompt: str, max_tokens: int) -> list[Message]:
        """Returns what was said before.

        Args:
            system_prompt: What else the model is sent.
            max_tokens: Most tokens of all that the model is sent.
        """
        if self._conversations is None or self._turn is None or self._given_id is None:
            return []
        others = [{"content": system_prompt}, {"content": self._message}]
        turns = self._conversations.history(self._context.principal.name, self._turn)
        async with aclosing(turns):
            return await select_history(turns, max_tokens - estimate_tokens(others))

    def add_text(self, text: str) -> None:
        """Takes a piece of text that the caller is told of."""
        self._texts.append(text)

    async def add_calls(self, completion: Completion) -> None:
        """Stores what the model said and the tools that it called."""
        self._usages.append(completion.usage)
        self._texts.clear()
        await self._write(_assistant(completion))

    async def add_results(self, events: Sequence[ToolFinished]) -> None:
        """Stores results of tools, together."""
        if events:
            await self._write(*map(_result, events))

    async def complete(self, completion: Completion, answer: ChatAnswer) -> None:
        """Stores the model's last words and ends the turn."""
        self._is_ended = True
        end = {
            "type": "end",
            "status": "complete",
            "model": answer["model"],
            "finish_reason": answer["finish_reason"],
            "usage": answer["usage"],
            "turns": answer["turns"],
        }
        if writer := self._writer:
            last = {**_assistant(completion), "tool_calls": []}
            # Not cut off by whatever ends the request: the next message waits for this.
            ending = self._end(writer, last, end)
            with keep_retrying():
                is_stored = await self._background.finish(ending, remaining_seconds())
            if not is_stored:
                raise self._context.deadline.exceeded()

    @property
    def _writer(self) -> TurnWriter | None:
        return self._turn.writer if self._turn else None

    async def _write(self, *lines: Line) -> None:
        if writer := self._writer:
            with keep_retrying():
                await writer.write(*lines)

    async def _end(self, writer: TurnWriter, *lines: Line) -> None:
        try:
            await writer.close(*lines)
        except StorageUnavailable as error:
            await self._give_up(error)
            raise

    async def _undo(self, beginning: "asyncio.Task[OpenTurn]", error: BaseException) -> None:
        await asyncio.wait([beginning])
        if not beginning.cancelled() and beginning.exception() is None:
            self._turn = beginning.result()
            await self._give_up(error)

    def _code(self, error: BaseException) -> str | None:
        if isinstance(error, GatewayError):
            return error.code
        # The scope of the call makes an error of its cancellation further out.
        is_late = not (isinstance(error, Exception) or self._context.deadline.remaining())
        return DeadlineExceeded.code if is_late else None

    async def _give_up(self, error: BaseException) -> None:
        self._is_ended = True
        writer = self._writer
        if writer is None:
            return
        lines: list[Line] = []
        if text := "".join(self._texts):
            lines.append({"type": "assistant", "content": text, "tool_calls": []})
        usage = sum_usage(self._usages)
        lines.append(
            {"type": "end", "status": "incomplete", "error": self._code(error), "usage": usage}
        )
        try:
            with keep_retrying(GIVE_UP_SECONDS):
                await writer.close(*lines)
        except Conflict:
            logger.warning("A turn was broken off because somebody else took its conversation over")
        except GatewayError as failure:
            logger.warning("The end of a turn was not stored: %s", failure.code)


def answer_of(turn: Sequence[Line], conversation_id: str) -> ChatAnswer:
    """Returns the answer that a complete turn was."""
    calls: dict[str, Any] = {}
    records: list[ToolCallRecord] = []
    texts = [""]
    for line in turn:
        if line["type"] == "assistant":
            texts.append(line["content"])
            calls = {call["id"]: call["function"]["arguments"] for call in line["tool_calls"]}
        elif line["type"] == "tool":
            records.append(
                ToolCallRecord(
                    name=line["name"],
                    arguments=decode_arguments(calls.get(line["id"], "")),
                    result=line["result"],
                    is_error=line["is_error"],
                    duration_ms=line["duration_ms"],
                )
            )
    end = turn[-1]
    return ChatAnswer(
        answer=texts[-1],
        conversation_id=conversation_id,
        model=end["model"],
        finish_reason=end["finish_reason"],
        tool_calls=records,
        usage=end["usage"],
        turns=end["turns"],
    )


def _assistant(completion: Completion) -> Line:
    return {
        "type": "assistant",
        "content": completion.text,
        "tool_calls": [call.as_message_part() for call in completion.tool_calls],
        "model": completion.model,
        "usage": completion.usage,
    }


def _result(event: ToolFinished) -> Line:
    record = event.record
    result = record["result"]
    if isinstance(result, str):
        kept: Any = cut(result)
    else:
        chars = len(to_json(result).decode())
        # Still JSON, so that the links in it can be renewed.
        kept = result if chars <= MAX_RESULT_CHARS else media_links(result, chars)
    return {
        "type": "tool",
        "id": event.id,
        "name": record["name"],
        "result": kept,
        "is_own": event.is_own,
        "is_error": record["is_error"],
        "duration_ms": record["duration_ms"],
    }
