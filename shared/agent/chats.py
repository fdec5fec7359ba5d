"""Chats: the agent under the rules for what costs money."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from shared.agent.buffer import EventBuffer
from shared.agent.events import ChatAnswer, ChatCompleted, ChatCreated, ChatEvent
from shared.agent.loop import Agent, ChatTurn
from shared.context import CallContext
from shared.tools import CONNECTION_SEPARATOR, Claims


class Chats:
    """Answers each message once for each idempotency key, to whoever listens.

    A caller who leaves ends the work, unless the request has a key: then it goes on, and a repeat
    gets what came of it. In the same way the work waits for a slow reader, or goes on without.

    Args:
        agent: Answers.
        claims: Remember what it answered, and let it go on without its caller.
    """

    def __init__(self, agent: Agent, claims: Claims) -> None:
        self._agent = agent
        self._claims = claims

    async def events(
        self, request: bytes, turn: ChatTurn, context: CallContext
    ) -> AsyncGenerator[ChatEvent, None]:
        """Yields what happens; an answer that is remembered comes without what led to it.

        Args:
            request: What the caller asks for, the same for the same request.
            turn: What the agent is asked.
            context: Who asks, under which key.

        Raises:
            GatewayError: As `Agent.events` and `Claims.claim` do.
        """
        told = EventBuffer()
        answering = self._answer(request, turn, context, told)
        if context.idempotency_key is not None:
            answering = self._claims.complete(answering)
        running = asyncio.create_task(answering)
        running.add_done_callback(lambda _: told.close())
        was_created = False
        try:
            async for event in told:
                was_created = was_created or isinstance(event, ChatCreated)
                yield event
            answer = cast(ChatAnswer, await running)
        finally:
            told.discard()
            if context.deadline.remaining():
                running.cancel()
            # Else its scope has cancelled it, and it may still tidy up.
            await asyncio.gather(running, return_exceptions=True)
        if not was_created:
            yield ChatCreated(answer["conversation_id"], answer["model"])
        # Only now: a repeat after this finds the same answer.
        yield ChatCompleted(answer)

    async def _answer(
        self, request: bytes, turn: ChatTurn, context: CallContext, told: EventBuffer
    ) -> dict[str, Any]:
        # The scope is here, because a stream outlives that of the route.
        claiming = self._claims.claim(request, context, _own_results)
        async with context.scope(), claiming as claim:
            if not claim.is_done:
                its_context = replace(context, operation=claim.operation)
                claim.result = await self._run(turn, its_context, told)
        answer: dict[str, Any] = claim.result
        return answer

    async def _run(self, turn: ChatTurn, context: CallContext, told: EventBuffer) -> dict[str, Any]:
        async with aclosing(self._agent.events(turn, context)) as events:
            async for event in events:
                if isinstance(event, ChatCompleted):
                    return {**event.answer}
                told.put(event)
                if told.is_full and context.idempotency_key is None:
                    await told.room()
        raise AssertionError("unreachable: the events end with ChatCompleted or raise")


def _own_results(answer: ChatAnswer) -> list[Any]:
    """Returns the results of our own tools: those of connections may name any number of media."""
    return [
        call["result"] for call in answer["tool_calls"] if CONNECTION_SEPARATOR not in call["name"]
    ]
