"""`POST /chat` and `POST /api/{user_id}/chat`: the agent, over HTTPS."""

import re
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from shared.agent import ChatAnswer, Chats, ChatTurn, ToolCallRecord, fold
from shared.auth import Guard
from shared.routes.body import MAX_LONG_BODY_BYTES
from shared.routes.errors import COMMON_ERRORS
from shared.routes.guard import Context, guarded
from shared.routes.sse import EventStream
from shared.strict_json import as_integer
from shared.tools import NotBlank

MAX_MESSAGE_CHARS = 1_000_000
MAX_NAMED_TOOLS = 128


Message = Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE_CHARS), NotBlank]


class ChatRequest(BaseModel):
    """Body of `POST /chat`."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    message: Message = Field(description="What the user says.")
    conversation_id: str | None = Field(None, description="Conversation to continue.")
    model: str | None = Field(
        None, description="Model to use, in Azure the deployment; the configured one when left out."
    )
    system_prompt: str | None = Field(
        None, description="Instructions in place of the configured ones."
    )
    tools: Annotated[list[str], Field(max_length=MAX_NAMED_TOOLS)] | Literal["none"] | None = Field(
        None, description="Names of the tools to offer; all when left out."
    )
    connections: (
        Annotated[list[str], Field(max_length=MAX_NAMED_TOOLS)] | Literal["none"] | None
    ) = Field(None, description="Connections whose tools to offer; all when left out.")
    stream: bool | None = Field(
        None,
        description="Answer with server-sent events as it happens; where left out, the header "
        "'Accept: text/event-stream' asks for them too.",
    )
    max_turns: Annotated[int, BeforeValidator(as_integer), Field(ge=1, le=50)] | None = Field(
        None,
        description="Most model calls with tools, up to CHAT_MAX_TURNS; then one more without any.",
    )


class UserChatRequest(BaseModel):
    """Body of `POST /api/{user_id}/chat`."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    message: Message = Field(description="What the user says.")
    conversation_id: str | None = Field(None, description="Conversation to continue.")


class UserChatAnswer(BaseModel):
    """Answer of `POST /api/{user_id}/chat`."""

    conversation_id: str | None
    response: str
    tool_calls: list[ToolCallRecord]


def chat_router(chats: Chats, guard: Guard, ping_seconds: float) -> APIRouter:
    """Returns the routes of the chat agent.

    Args:
        chats: Answers.
        guard: Authenticates and authorizes.
        ping_seconds: Silence in a stream after which a comment is sent.
    """
    router = APIRouter(
        tags=["chat"],
        route_class=guarded(guard, "chat", MAX_LONG_BODY_BYTES),
        responses=COMMON_ERRORS,
    )

    @router.post("/chat", name="chat", response_model=ChatAnswer, responses=_STREAM)
    async def chat(body: ChatRequest, context: Context, request: Request) -> object:
        """Answers a message, calling tools where they help.

        Of one answer of the model at most 32 tool calls are run, and in one request at most 8 calls of
        tools that cost money. The model is told of the others, and they have `is_error` in the answer.
        """
        turn = ChatTurn(
            message=body.message,
            conversation_id=body.conversation_id,
            model=body.model,
            system_prompt=body.system_prompt,
            tools=body.tools,
            connections=body.connections,
            max_turns=body.max_turns,
        )
        # The form of the answer does not make it another request.
        asked = body.model_dump_json(exclude_unset=True, exclude={"stream"})
        events = chats.events(f"chat {asked}".encode(), turn, context)
        if _accepts_events(request) if body.stream is None else body.stream:
            return EventStream(request, await anext(events), events, ping_seconds)
        return await fold(events)

    @router.post("/api/{user_id}/chat", name="user_chat")
    async def user_chat(
        user_id: str, body: UserChatRequest, context: Context, request: Request
    ) -> UserChatAnswer:
        """Answers a message of a user, who calls for themselves or is spoken for."""
        user = await guard.impersonate(context.principal, user_id)
        request.state.principal = user
        asked = f"user_chat {body.model_dump_json(exclude_unset=True)}".encode()
        turn = ChatTurn(body.message, body.conversation_id)
        answer = await fold(chats.events(asked, turn, replace(context, principal=user)))
        return UserChatAnswer(
            conversation_id=answer["conversation_id"],
            response=answer["answer"],
            tool_calls=answer["tool_calls"],
        )

    return router


_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


def _accepts_events(request: Request) -> bool:
    """Returns whether the caller would rather have events than JSON; who takes both gets JSON."""
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
