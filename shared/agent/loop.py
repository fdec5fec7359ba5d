"""The chat agent: a loop of model calls and the tool calls that the model asks for."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

from shared.agent.calls import run_calls
from shared.agent.events import (
    ChatAnswer,
    ChatCompleted,
    ChatCreated,
    ChatDelta,
    ChatEvent,
    ToolCallRecord,
    ToolFinished,
)
from shared.agent.offer import ToolOffer, make_offer
from shared.openai_service import (
    Capability,
    Completion,
    CompletionRequest,
    OpenAIService,
    ToolCall,
    Usage,
    sum_usage,
)
from shared.tools import ToolContext, Toolset

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful assistant. Use the tools that you are offered when they help, and only then; "
    "call several at once where they do not depend on each other. Never make up what a tool would "
    "tell you. Quote marks such as [MCP Server Time] and links as the tools return them."
)


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """What the agent is asked to answer.

    Attributes:
        message: What the user says.
        model: Model or deployment; None for the configured one.
        system_prompt: Instructions in place of the configured ones.
        tools: Names of the tools to offer; None for all.
        max_turns: Most model calls with tools; None for the configured number.
    """

    message: str
    model: str | None = None
    system_prompt: str | None = None
    tools: Sequence[str] | Literal["none"] | None = None
    max_turns: int | None = None


class Agent:
    """Answers messages with a model and tools.

    Args:
        openai: Where the model is.
        toolsets: Where the tools are.
        system_prompt: Instructions where a caller gives none.
        max_turns: Most model calls with tools where a caller gives no number.
        temperature: Sampling temperature; None leaves it to the model.
    """

    def __init__(
        self,
        openai: OpenAIService,
        toolsets: Sequence[Toolset],
        *,
        system_prompt: str | None,
        max_turns: int,
        temperature: float | None = None,
    ) -> None:
        self._openai = openai
        self._toolsets = tuple(toolsets)
        self._system_prompt = system_prompt or DEFAULT_SYSTEM_PROMPT
        self._max_turns = max_turns
        self._temperature = temperature

    async def events(self, turn: ChatTurn, context: ToolContext) -> AsyncGenerator[ChatEvent, None]:
        """Yields what happens until the answer is complete; the last event is `ChatCompleted`.

        When the model still wants tools after ``max_turns`` calls, it is called once more without
        any, so that there is always an answer. Closing the generator cancels what is under way.

        Raises:
            InvalidRequest: A named tool does not exist.
            DeadlineExceeded: The request's budget is used up.
            GatewayError: The provider failed or refused.
        """
        target = self._openai.endpoint(Capability.CHAT).target
        offer = await make_offer(self._toolsets, turn.tools, context)
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": turn.system_prompt or self._system_prompt},
            {"role": "user", "content": turn.message},
        ]
        records: list[ToolCallRecord] = []
        usages: list[Usage | None] = []
        turns_with_tools = turn.max_turns or self._max_turns
        yield ChatCreated(None, turn.model or target)
        while True:
            may_call = bool(offer.tools) and len(usages) < turns_with_tools
            completion: Completion | None = None
            request = self._request(turn, messages, offer if may_call else None)
            async with aclosing(self._openai.stream(request, context.deadline)) as stream:
                async for piece in stream:
                    if isinstance(piece, Completion):
                        completion = piece
                    else:
                        yield ChatDelta(piece)
            if completion is None:
                raise AssertionError("unreachable: the stream ends with a completion or raises")
            usages.append(completion.usage)
            if not (may_call and completion.tool_calls):
                break
            messages.append(_assistant_message(completion))
            results: dict[str, str] = {}
            async with aclosing(run_calls(completion.tool_calls, offer, context)) as events:
                async for event, text in events:
                    if isinstance(event, ToolFinished):
                        records.append(event.record)
                        results[event.id] = text or ""
                    yield event
            messages += [_tool_message(call, results[call.id]) for call in completion.tool_calls]
        yield ChatCompleted(
            ChatAnswer(
                answer=completion.text,
                conversation_id=None,
                model=completion.model,
                finish_reason=completion.finish_reason,
                tool_calls=records,
                usage=sum_usage(usages),
                turns=len(usages),
            )
        )

    async def answer(self, turn: ChatTurn, context: ToolContext) -> ChatAnswer:
        """Returns the complete answer: the fold of `events`.

        Raises:
            GatewayError: As `events` does.
        """
        async with aclosing(self.events(turn, context)) as events:
            async for event in events:
                if isinstance(event, ChatCompleted):
                    return event.answer
        raise AssertionError("unreachable: the events end with ChatCompleted or raise")

    def _request(
        self, turn: ChatTurn, messages: Sequence[dict[str, Any]], offer: ToolOffer | None
    ) -> CompletionRequest:
        options: dict[str, Any] = {"temperature": self._temperature}
        if offer is not None:
            options["tools"] = offer.as_functions()
        return CompletionRequest(list(messages), turn.model, options)


def _assistant_message(completion: Completion) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": completion.text or None,
        "tool_calls": [call.as_message_part() for call in completion.tool_calls],
    }


def _tool_message(call: ToolCall, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call.id, "content": text}
