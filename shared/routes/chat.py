"""`POST /chat`: the agent, over HTTPS."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from shared.agent import Agent, ChatAnswer, ChatTurn
from shared.auth import Guard
from shared.errors import NotFound
from shared.routes.doors import Context, guarded
from shared.routes.errors import COMMON_ERRORS
from shared.tools import PaidCalls, ToolContext

MAX_MESSAGE_CHARS = 1_000_000
MAX_NAMED_TOOLS = 128


class ChatRequest(BaseModel):
    """Body of `POST /chat`."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    message: Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE_CHARS)] = Field(
        description="What the user says."
    )
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
    max_turns: Annotated[int, Field(ge=1, le=50)] | None = Field(
        None, description="Most model calls with tools; then one more without any."
    )


def chat_router(agent: Agent, paid_calls: PaidCalls, guard: Guard) -> APIRouter:
    """Returns the routes of the chat agent."""
    router = APIRouter(tags=["chat"], route_class=guarded(guard, "chat"), responses=COMMON_ERRORS)

    @router.post("/chat", name="chat", response_model=ChatAnswer)
    async def chat(body: ChatRequest, context: Context) -> object:
        """Answers a message, calling tools where they help."""
        if body.conversation_id is not None:
            raise NotFound(f"There is no conversation '{body.conversation_id}'.")
        if body.connections and body.connections != "none":
            raise NotFound(f"There is no connection '{body.connections[0]}'.")
        turn = ChatTurn(
            message=body.message,
            model=body.model,
            system_prompt=body.system_prompt,
            tools=body.tools,
            max_turns=body.max_turns,
        )

        async def answer(its_context: ToolContext) -> dict[str, Any]:
            return {**await agent.answer(turn, its_context)}

        request = f"chat {body.model_dump_json(exclude_unset=True)}".encode()
        return await paid_calls.run(request, answer, context, runs_to_the_end=False)

    return router
