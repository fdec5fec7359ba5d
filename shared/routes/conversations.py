"""`/conversations`: what was said in chats."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from shared.auth import Guard
from shared.routes.errors import COMMON_ERRORS, Cursor, cursor_errors
from shared.routes.guard import Context, guarded
from shared.storage import (
    Conversation,
    ConversationStore,
    ConversationSummary,
    present_conversation,
)


class ConversationList(BaseModel):
    """Answer of `GET /conversations`.

    Attributes:
        cursor: Gives the next page; null at the end.
    """

    conversations: list[ConversationSummary]
    cursor: str | None


def conversations_router(conversations: ConversationStore, guard: Guard) -> APIRouter:
    """Returns the routes of conversations."""
    router = APIRouter(
        tags=["conversations"], route_class=guarded(guard, "chat"), responses=COMMON_ERRORS
    )

    @router.get("/conversations", name="conversations_list")
    async def list_conversations(
        context: Context,
        limit: Annotated[int, Query(ge=1, le=100, description="Most to return.")] = 20,
        cursor: Cursor | None = None,
    ) -> ConversationList:
        """Lists the caller's conversations, newest first; a page may hold fewer than asked for."""
        with cursor_errors():
            page = await conversations.list(context.principal.name, limit, cursor)
        return ConversationList(conversations=list(page.conversations), cursor=page.cursor)

    @router.get(
        "/conversations/{conversation_id}",
        name="conversation_get",
        response_model=Conversation,
        response_model_exclude_unset=True,
    )
    async def get(
        conversation_id: str,
        context: Context,
        limit: Annotated[int, Query(ge=1, le=100, description="Most messages.")] = 100,
        cursor: Cursor | None = None,
    ) -> Conversation:
        """Returns the newest messages, oldest of them first; the cursor leads to earlier ones."""
        principal = context.principal.name
        with cursor_errors():
            page = await conversations.page(principal, conversation_id, limit, cursor)
        return present_conversation(page)

    @router.delete("/conversations/{conversation_id}", name="conversation_delete", status_code=204)
    async def delete(conversation_id: str, context: Context) -> None:
        """Deletes a conversation; the media in it stay."""
        await conversations.delete(context.principal.name, conversation_id)

    return router
