"""The chat agent: a loop of model calls and the tool calls that the model asks for."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shared.agent.calls import CallRunner
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
from shared.agent.transcript import Transcript
from shared.connections import ConnectionProblem, Connections, open_toolset
from shared.context import CallContext
from shared.openai_service import (
    Capability,
    Completion,
    CompletionRequest,
    OpenAIService,
    ToolCall,
    Usage,
    sum_usage,
)
from shared.storage import ConversationStore
from shared.tools import Toolset

MAX_REMOTE_TOOLS = 100
"""Offered where a caller names none: providers take 128 in all, and ours are among them."""

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
        conversation_id: The conversation to continue; None for a new one.
        model: Model or deployment; None for the configured one.
        system_prompt: Instructions in place of the configured ones.
        tools: Names of the tools to offer; None for all.
        connections: Ids of the connections whose tools to offer; None for all.
        max_turns: Most model calls with tools, if that is fewer than configured; None for as many.
    """

    message: str
    conversation_id: str | None = None
    model: str | None = None
    system_prompt: str | None = None
    tools: Sequence[str] | Literal["none"] | None = None
    connections: Sequence[str] | Literal["none"] | None = None
    max_turns: int | None = None


class Agent:
    """Answers messages with a model and tools.

    Args:
        openai: Where the model is.
        toolsets: Where the tools are.
        connections: Where tools of other MCP servers are; None for nowhere.
        system_prompt: Instructions where a caller gives none.
        max_turns: Most model calls with tools, whatever a caller says.
        temperature: Sampling temperature; None leaves it to the model.
        conversations: Where what is said is stored; None stores nothing.
        max_history_tokens: Most tokens that the model is sent of what was said before, with the
            instructions and the message.
        tool_timeout: How long one tool call may take, in seconds.
    """

    def __init__(
        self,
        openai: OpenAIService,
        toolsets: Sequence[Toolset],
        *,
        connections: Connections | None = None,
        system_prompt: str | None,
        max_turns: int,
        temperature: float | None = None,
        conversations: ConversationStore | None = None,
        max_history_tokens: int = 32000,
        tool_timeout: float = 120.0,
    ) -> None:
        self._openai = openai
        self._toolsets = tuple(toolsets)
        self._connections = connections
        self._system_prompt = system_prompt or DEFAULT_SYSTEM_PROMPT
        self._max_turns = max_turns
        self._temperature = temperature
        self._conversations = conversations
        self._max_history_tokens = max_history_tokens
        self._tool_timeout = tool_timeout

    async def events(self, turn: ChatTurn, context: CallContext) -> AsyncGenerator[ChatEvent, None]:
        """Yields what happens until the answer is complete; the last event is `ChatCompleted`.

        When the model still wants tools after ``max_turns`` calls, it is called once more without
        any, so that there is always an answer. Closing the generator cancels what is under way.

        Raises:
            InvalidRequest: A named tool does not exist.
            ModelNotAllowed: The caller may not use the model.
            NotFound: The caller has no such conversation.
            Conflict: The conversation is being answered.
            DeadlineExceeded: The request's budget is used up.
            GatewayError: The provider failed or refused.
        """
        model = self._openai.endpoints.get(Capability.CHAT).choose_model(turn.model)
        offer, problems = await self._make_offer(turn, context)
        async with self._open_transcript(turn, context) as transcript:
            if (answer := transcript.answer) is not None:
                yield ChatCreated(transcript.conversation_id, answer["model"])
                yield ChatCompleted(answer)
                return
            yield ChatCreated(transcript.conversation_id, model)
            async with aclosing(self._run(turn, offer, problems, transcript, context)) as events:
                async for event in events:
                    yield event

    async def _run(
        self,
        turn: ChatTurn,
        offer: ToolOffer,
        problems: Sequence[ConnectionProblem],
        transcript: Transcript,
        context: CallContext,
    ) -> AsyncGenerator[ChatEvent, None]:
        system_prompt = "\n\n".join(
            [
                turn.system_prompt or self._system_prompt,
                *(problem.for_model for problem in problems),
            ]
        )
        history = await transcript.history(system_prompt, self._max_history_tokens)
        state = _State(turn, system_prompt, history)
        turns_with_tools = min(turn.max_turns or self._max_turns, self._max_turns)
        runner = CallRunner(offer, context, self._tool_timeout)
        while True:
            may_call = bool(offer.tools) and len(state.usages) < turns_with_tools
            async with aclosing(self._ask(state, offer if may_call else None, context)) as texts:
                async for text in texts:
                    transcript.add_text(text)
                    yield ChatDelta(text)
            calls = state.take_calls() if may_call else ()
            if not calls:
                break
            await transcript.add_calls(state.last)
            accepted, refused = runner.refuse(calls)
            await transcript.add_results([finished for _, finished in refused])
            for started, finished in refused:
                state.add_result(finished)
                yield started
                yield finished
            async with aclosing(runner.run(accepted)) as events:
                async for event in events:
                    if isinstance(event, ToolFinished):
                        await transcript.add_results([event])
                        state.add_result(event)
                    yield event
        answer = state.answer(transcript.conversation_id)
        if problems:
            answer["connection_problems"] = [asdict(problem) for problem in problems]
        await transcript.complete(state.last, answer)
        yield ChatCompleted(answer)

    async def _make_offer(
        self, turn: ChatTurn, context: CallContext
    ) -> tuple[ToolOffer, Sequence[ConnectionProblem]]:
        toolsets: list[Toolset] = [*self._toolsets]
        problems: Sequence[ConnectionProblem] = ()
        if self._connections is not None and turn.tools != "none":
            limit = MAX_REMOTE_TOOLS if turn.tools is None else None
            remote = await open_toolset(
                self._connections, context, turn.connections, named=turn.tools, limit=limit
            )
            toolsets.append(remote)
            problems = remote.problems
        return await make_offer(toolsets, turn.tools, context), problems

    def _open_transcript(self, turn: ChatTurn, context: CallContext) -> Transcript:
        is_stored = self._conversations is not None and self._conversations.is_configured
        if turn.conversation_id is None and not is_stored:
            return Transcript(None, None, turn.message, context)
        return Transcript(self._conversations, turn.conversation_id, turn.message, context)

    async def _ask(
        self, state: "_State", offer: ToolOffer | None, context: CallContext
    ) -> AsyncGenerator[str, None]:
        options: dict[str, Any] = {"temperature": self._temperature}
        if offer is not None:
            options["tools"] = offer.as_functions()
        request = CompletionRequest(
            messages=state.messages(), model=state.turn.model, options=options
        )
        async with aclosing(self._openai.chat.stream(request)) as stream:
            async for piece in stream:
                if isinstance(piece, Completion):
                    state.add_completion(piece)
                else:
                    yield piece


class _State:
    """What has been said in one request so far."""

    def __init__(
        self, turn: ChatTurn, system_prompt: str, history: Sequence[Mapping[str, Any]]
    ) -> None:
        self.turn = turn
        self.usages: list[Usage | None] = []
        self._messages: list[Mapping[str, Any]] = [
            {"role": "system", "content": system_prompt},
            *history,
            {"role": "user", "content": turn.message},
        ]
        self._results: dict[str, dict[str, Any]] = {}
        self._records: list[ToolCallRecord] = []
        self._last: Completion | None = None

    def messages(self) -> list[Mapping[str, Any]]:
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
        calls = self.last.tool_calls
        if not calls:
            return ()
        self._messages.append(
            {
                "role": "assistant",
                "content": self.last.text or None,
                "tool_calls": [call.as_message_part() for call in calls],
            }
        )
        self._results = {
            call.id: {"role": "tool", "tool_call_id": call.id, "content": ""} for call in calls
        }
        return calls

    def add_result(self, event: ToolFinished) -> None:
        """Takes the result of a call."""
        self._records.append(event.record)
        self._results[event.id]["content"] = event.text

    @property
    def last(self) -> Completion:
        """The last answer of the model."""
        if self._last is None:
            raise AssertionError("unreachable: the stream ends with a completion or raises")
        return self._last

    def answer(self, conversation_id: str | None) -> ChatAnswer:
        """Returns the whole answer, made of the last completion."""
        return ChatAnswer(
            answer=self.last.text,
            conversation_id=conversation_id,
            model=self.last.model,
            finish_reason=self.last.finish_reason,
            tool_calls=self._records,
            usage=sum_usage(self.usages),
            turns=len(self.usages),
        )
