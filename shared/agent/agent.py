"""The chat agent: a loop of model calls and the tool calls that the model asks for."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from shared.agent.buffer import EventBuffer
from shared.agent.events import (
    AgentAnswer,
    ChatAnswer,
    ChatCompleted,
    ChatCreated,
    ChatDelta,
    ChatEvent,
    ChatInput,
    HistoryInput,
    function_name,
)
from shared.agent.executor import ToolExecutor
from shared.agent.run import ChatRun
from shared.context import CallContext
from shared.conversations import ConversationStore, FoundLog
from shared.media_parts import MediaParts
from shared.openai_service import (
    Capability,
    Completion,
    CompletionRequest,
    OpenAIService,
    ToolCall,
    json_schema_format,
)
from shared.parallel import beside
from shared.selection import ToolSelection, ToolSelector
from shared.settings import Settings
from shared.tools import Claims
from shared.tracing import operation_span

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful assistant. Use the tools that you are offered when they help, and only then; "
    "call several at once where they do not depend on each other. Never make up what a tool would "
    "tell you. Quote marks such as [MCP Server Time] and links as the tools return them."
)


class Agent:
    """Answers messages with a model and tools, each once for each idempotency key.

    A caller who disconnects ends the run, unless the request has a key: then it goes on, and a repeat
    gets its answer. In the same way the run waits for a slow reader, or goes on without.

    Args:
        settings: The instructions, limits and temperature.
        openai: The providers.
        tools: Selects the tools that the model is offered.
        conversations: Stores messages and answers.
        media_parts: Has the files of messages.
        claims: Remembers answers by key.
        tool_timeout: Maximum seconds of one tool call.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        openai: OpenAIService,
        tools: ToolSelector,
        conversations: ConversationStore,
        media_parts: MediaParts,
        claims: Claims,
        tool_timeout: float,
    ) -> None:
        self._openai = openai
        self._tools = tools
        self._conversations = conversations
        self._media_parts = media_parts
        self._claims = claims
        self._system_prompt = settings.agent.system_prompt or DEFAULT_SYSTEM_PROMPT
        self._max_turns = settings.agent.max_turns
        self._max_history_tokens = settings.agent.max_history_tokens
        self._temperature = settings.openai.temperature
        self._tool_timeout = tool_timeout

    async def events(
        self, chat: ChatInput | HistoryInput, context: CallContext
    ) -> AsyncGenerator[ChatEvent, None]:
        """Yields what happens until the answer is complete; the last event is `ChatCompleted`.

        A remembered answer comes without the events that led to it. Closing the generator cancels the
        run, unless the request has an idempotency key.

        Args:
            chat: A message, stored with its answer in a conversation; or a whole conversation, of which
                nothing is stored.
            context: The call.

        Raises:
            NotConfigured: There is no provider for chat.
            InvalidRequest: A named tool does not exist.
            ModelNotAllowed: The caller may not use the model.
            NotFound: The caller has no such conversation.
            Conflict: The conversation is being answered, or the key is in use.
            DeadlineExceeded: The request's budget is used up.
            GatewayError: The provider failed or refused.
        """
        has_key = context.idempotency_key is not None
        buffer = EventBuffer(waits=not has_key)
        answering = self._answer(chat, context, buffer)
        # In a task, because a stream outlives the scope of its route, and with a key its reader, too.
        if has_key:
            answering = self._claims.background.complete(answering)
        running = asyncio.create_task(answering)
        running.add_done_callback(lambda _: buffer.close())
        was_created = False
        try:
            async for event in buffer:
                was_created = was_created or isinstance(event, ChatCreated)
                yield event
            answer = cast(AgentAnswer, await running)
        finally:
            buffer.discard()
            if context.deadline.remaining():
                running.cancel()
            # Else its scope has cancelled it, and it may still end its run.
            await asyncio.gather(running, return_exceptions=True)
        if not was_created:
            yield ChatCreated(answer["conversation_id"], answer["model"])
        # Only now: a repeat after this finds the same answer.
        yield ChatCompleted(answer)

    async def _answer(
        self, chat: ChatInput | HistoryInput, context: CallContext, buffer: EventBuffer
    ) -> dict[str, Any]:
        async with context.scope(), self._claims.claim(chat.fingerprint(), context) as claim:
            if claim.is_done:
                parts = self._own_results(claim.result)
                return await self._claims.refresh(claim.result, parts, context)
            context = replace(context, operation=claim.operation)
            with operation_span("invoke_agent", "chat", {"gen_ai.agent.name": "chat"}) as span:
                answer = await self._run(chat, context, buffer)
                span.set_attribute("gen_ai.response.model", answer["model"])
                if answer["conversation_id"] is not None:
                    span.set_attribute("gen_ai.conversation.id", answer["conversation_id"])
            remembered = {**answer}
            claim.result = remembered
        return remembered

    async def _run(
        self, chat: ChatInput | HistoryInput, context: CallContext, buffer: EventBuffer
    ) -> AgentAnswer:
        """Calls the model, and the tools that it asks for, until it answers.

        When the model still wants tools after the maximum of turns, it is called once more without any,
        so that there is always an answer. A call of a tool of the caller ends the answer, too: calls of
        other tools beside it are not made, since their results could not be sent along.
        """
        model = self._openai.choose_model(Capability.CHAT, chat.model)
        async with beside(self._find(chat, context)) as finding:
            selection = await self._tools.for_chat(context, chat.tools, chat.connections)
            found = await finding
        async with ChatRun(self._conversations, self._media_parts, chat, context, found) as run:
            if run.answer is not None:
                return run.answer
            buffer.put(ChatCreated(run.conversation_id, model))
            instructions = [
                self._instructions(chat),
                *(each.for_model for each in selection.problems),
            ]
            await run.load("\n\n".join(filter(None, instructions)), self._max_history_tokens)
            executor = ToolExecutor(selection, run, buffer, context, self._tool_timeout)
            max_turns = min(chat.max_turns or self._max_turns, self._max_turns)
            while True:
                may_call = bool(selection.names) and run.turns < max_turns and not _must_call(chat)
                completion = await self._ask(run, selection if may_call else None, buffer)
                theirs = _calls_of_client(chat, completion)
                if theirs or not (may_call and completion.tool_calls):
                    return await run.complete(completion, selection.problems, theirs)
                await run.add_calls(completion)
                await executor.execute(completion.tool_calls)

    async def _find(self, chat: ChatInput | HistoryInput, context: CallContext) -> FoundLog | None:
        if isinstance(chat, HistoryInput):
            return None
        owner = context.principal.name
        return await self._conversations.find(owner, chat.conversation_id, context.operation)

    def _instructions(self, chat: ChatInput | HistoryInput) -> str:
        if chat.system_prompt:
            return chat.system_prompt
        if isinstance(chat, HistoryInput) and chat.has_instructions:
            return ""
        return self._system_prompt

    async def _ask(
        self, run: ChatRun, selection: ToolSelection | None, buffer: EventBuffer
    ) -> Completion:
        """Calls the model, and tells the caller each piece of its text."""
        chat = run.chat
        options: dict[str, Any] = {
            "temperature": self._temperature if chat.temperature is None else chat.temperature,
            "max_completion_tokens": chat.max_output_tokens,
            "reasoning_effort": chat.reasoning_effort,
        }
        if chat.json_schema is not None:
            options["response_format"] = json_schema_format(chat.json_schema)
        functions = [] if selection is None else selection.as_functions()
        if isinstance(chat, HistoryInput) and chat.client_tools:
            # Of two tools of one name the caller's counts.
            taken = chat.client_tool_names
            functions = [each for each in functions if function_name(each) not in taken]
            functions += chat.client_tools
            options["tool_choice"] = chat.tool_choice
            options["parallel_tool_calls"] = chat.parallel_tool_calls
        options["tools"] = functions or None
        request = CompletionRequest(messages=run.messages, model=chat.model, options=options)
        async with aclosing(self._openai.chat.stream(request)) as stream:
            async for piece in stream:
                if isinstance(piece, Completion):
                    return piece
                run.add_text(piece)
                buffer.put(ChatDelta(piece))
                await buffer.room()
        raise AssertionError("unreachable: the stream ends with a completion or raises")

    def _own_results(self, answer: ChatAnswer) -> list[Any]:
        """Returns the results of our own tools: those of connections may name any number of media."""
        calls = answer["tool_calls"]
        return [call["result"] for call in calls if self._tools.is_own(call["name"])]


def _must_call(chat: ChatInput | HistoryInput) -> bool:
    """Returns whether the model has to call a tool of the caller."""
    return isinstance(chat, HistoryInput) and chat.tool_choice not in (None, "auto")


def _calls_of_client(chat: ChatInput | HistoryInput, completion: Completion) -> Sequence[ToolCall]:
    """Returns those of the model's calls that the caller has to make."""
    if not (completion.tool_calls and isinstance(chat, HistoryInput)):
        return ()
    names = chat.client_tool_names
    return [call for call in completion.tool_calls if call.name in names]
