"""`/conversations`: the stored messages and answers of chats."""

from typing import Annotated

from fastapi import APIRouter, Query

from shared.auth import Guard
from shared.conversations import Conversation, ConversationList, ConversationStore
from shared.routes.errors import Cursor, cursor_errors, document_errors
from shared.routes.guarded_route import Context, guarded


def conversations_router(conversations: ConversationStore, guard: Guard) -> APIRouter:
    """Returns the routes of conversations."""
    router = APIRouter(tags=["conversations"], route_class=guarded(guard, "chat"))

    @router.get("/conversations", name="conversations_list", summary="List conversations")
    async def list_conversations(
        context: Context,
        limit: Annotated[int, Query(ge=1, le=100, description="Maximum conversations.")] = 20,
        cursor: Cursor | None = None,
    ) -> ConversationList:
        """Lists the caller's conversations, newest first; a page may hold fewer than `limit`."""
        with cursor_errors():
            return await conversations.list(context.principal.name, limit, cursor)

    @router.get(
        "/conversations/{conversation_id}",
        name="conversation_get",
        summary="Read a conversation",
        response_model=Conversation,
        response_model_exclude_unset=True,
    )
    async def get(
        conversation_id: str,
        context: Context,
        limit: Annotated[int, Query(ge=1, le=100, description="Maximum messages.")] = 100,
        cursor: Cursor | None = None,
    ) -> Conversation:
        """Returns the newest messages of a conversation, in the order of their writing.

        The cursor returns those before them.
        """
        principal = context.principal.name
        with cursor_errors():
            return await conversations.page(principal, conversation_id, limit, cursor)

    @router.delete(
        "/conversations/{conversation_id}",
        name="conversation_delete",
        summary="Delete a conversation",
        responses=document_errors(409),
        status_code=204,
    )
    async def delete(conversation_id: str, context: Context) -> None:
        """Deletes a conversation, but not the media in it."""
        await conversations.delete(context.principal.name, conversation_id)

    return router
