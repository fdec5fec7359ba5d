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
        state = _State(turn, turn.system_prompt or self._system_prompt)
        turns_with_tools = turn.max_turns or self._max_turns
        yield ChatCreated(None, turn.model or target)
        while True:
            may_call = bool(offer.tools) and len(state.usages) < turns_with_tools
            async with aclosing(self._ask(state, offer if may_call else None, context)) as texts:
                async for text in texts:
                    yield ChatDelta(text)
            calls = state.take_calls() if may_call else ()
            if not calls:
                break
            async with aclosing(run_calls(calls, offer, context)) as events:
                async for event, text_for_model in events:
                    if isinstance(event, ToolFinished):
                        state.add_result(event, text_for_model or "")
                    yield event
        yield ChatCompleted(state.answer())

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

    async def _ask(
        self, state: "_State", offer: ToolOffer | None, context: ToolContext
    ) -> AsyncGenerator[str, None]:
        options: dict[str, Any] = {"temperature": self._temperature}
        if offer is not None:
            options["tools"] = offer.as_functions()
        request = CompletionRequest(state.messages(), state.turn.model, options)
        async with aclosing(self._openai.stream(request, context.deadline)) as stream:
            async for piece in stream:
                if isinstance(piece, Completion):
                    state.add_completion(piece)
                else:
                    yield piece


class _State:
    """What has been said in one request so far."""

    def __init__(self, turn: ChatTurn, system_prompt: str) -> None:
        self.turn = turn
        self.usages: list[Usage | None] = []
        self._messages: list[dict[str, Any]] = [
            {"role": "system", "content": system_prompt},
            {"role": "user", "content": turn.message},
        ]
        self._results: dict[str, dict[str, Any]] = {}
        self._records: list[ToolCallRecord] = []
        self._last: Completion | None = None

    def messages(self) -> list[dict[str, Any]]:
        """Returns the conversation for the model; results stand in the order of the calls."""
        return [*self._messages, *self._results.values()]

    def add_completion(self, completion: Completion) -> None:
        """Takes a complete answer of the model."""
        self._last = completion
        self.usages.append(completion.usage)

    def take_calls(self) -> Sequence[ToolCall]:
        """Returns the calls of the last answer and makes room for their results."""
        self._messages = self.messages()
        self._results = {}
        if self._last is None or not self._last.tool_calls:
            return ()
        calls = self._last.tool_calls
        self._messages.append(
            {
                "role": "assistant",
                "content": self._last.text or None,
                "tool_calls": [call.as_message_part() for call in calls],
            }
        )
        self._results = {
            call.id: {"role": "tool", "tool_call_id": call.id, "content": ""} for call in calls
        }
        return calls

    def add_result(self, event: ToolFinished, text: str) -> None:
        """Takes the result of a call."""
        self._records.append(event.record)
        self._results[event.id]["content"] = text

    def answer(self) -> ChatAnswer:
        """Returns the whole answer, made of the last completion."""
        if self._last is None:
            raise AssertionError("unreachable: the stream ends with a completion or raises")
        return ChatAnswer(
            answer=self._last.text,
            conversation_id=None,
            model=self._last.model,
            finish_reason=self._last.finish_reason,
            tool_calls=self._records,
            usage=sum_usage(self.usages),
            turns=len(self.usages),
        )
