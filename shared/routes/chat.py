"""`POST /chat` and `POST /api/{user_id}/chat`: the agent, over HTTPS."""

import re
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from shared.agent import (
    Agent,
    ChatAnswer,
    ChatInput,
    ChatMessage,
    ToolCallRecord,
    fold,
)
from shared.auth import Guard
from shared.routes.body import MAX_LONG_BODY_BYTES
from shared.routes.errors import PROVIDER_STATUSES, document_errors
from shared.routes.guarded_route import Context, guarded
from shared.routes.sse import EventStream, admitted


class ChatRequest(ChatInput):
    """Body of `POST /chat`."""

    stream: bool | None = Field(
        None,
        description="Answer with server-sent events as it happens; where left out, the header "
        "'Accept: text/event-stream' asks for them too.",
    )


class UserChatRequest(ChatMessage):
    """Body of `POST /api/{user_id}/chat`."""


class UserChatAnswer(BaseModel):
    """Answer of `POST /api/{user_id}/chat`."""

    conversation_id: str | None
    response: str
    tool_calls: list[ToolCallRecord]


def chat_router(agent: Agent, guard: Guard, ping_seconds: float) -> APIRouter:
    """Returns the routes of the chat agent.

    Args:
        agent: Answers messages.
        guard: Authenticates and authorizes.
        ping_seconds: Silence in a stream after which a comment is sent.
    """
    router = APIRouter(
        tags=["chat"],
        route_class=guarded(guard, "chat", MAX_LONG_BODY_BYTES),
        responses=document_errors(404, 409, *PROVIDER_STATUSES),
    )

    @router.post(
        "/chat",
        name="chat",
        summary="Chat with the agent",
        openapi_extra={"x-idempotency-key": True},
        response_model=ChatAnswer,
        responses=_STREAM,
    )
    async def chat(body: ChatRequest, context: Context, request: Request) -> object:
        """Answers a message, and calls tools where they help.

        Of one answer of the model at most 32 tool calls are run, and in one request at most 8 calls of
        tools that cost money. The others are refused: the model reads so, and they have `is_error` in
        the answer.
        """
        events = agent.events(body, context)
        if _accepts_events(request) if body.stream is None else body.stream:
            first = await anext(events)
            following = await admitted(events, context.usage)
            return EventStream(request, first, following, ping_seconds)
        return await fold(events)

    @router.post(
        "/api/{user_id}/chat",
        name="user_chat",
        summary="Chat as a user",
        openapi_extra={"x-idempotency-key": True},
    )
    async def user_chat(
        user_id: str, body: UserChatRequest, context: Context, request: Request
    ) -> UserChatAnswer:
        """Answers a message of a user: the caller, or one that the caller's key may act as."""
        user = await guard.impersonate(context.principal, user_id)
        request.state.principal = user
        chat = ChatInput(message=body.message, conversation_id=body.conversation_id)
        answer = await fold(agent.events(chat, replace(context, principal=user)))
        return UserChatAnswer(
            conversation_id=answer["conversation_id"],
            response=answer["answer"],
            tool_calls=answer["tool_calls"],
        )

    return router


_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; or, as `text/event-stream`, the events that lead to it.",
        "content": {"text/event-stream": {"schema": {"$ref": "#/components/schemas/ChatEvent"}}},
    }
}


def _accepts_events(request: Request) -> bool:
    """Returns whether the caller prefers events to JSON; where both are equal, JSON is sent."""
    qualities = {"application/json": 0.0, EventStream.media_type: 0.0}
    for each in request.headers.get("accept", "").lower().split(","):
        media_type, _, parameters = each.partition(";")
        found = re.search(r"q=([0-9.]+)", parameters)
        try:
            quality = float(found.group(1)) if found else 1.0
        except ValueError:
            quality = 1.0
        name = media_type.strip()
        qualities["application/json" if name == "*/*" else name] = quality
    return qualities[EventStream.media_type] > qualities["application/json"]
