"""`/changes`: what ``admin`` changed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from shared.auth import Guard
from shared.keys import AdminChanges
from shared.routes.errors import Cursor, cursor_errors
from shared.routes.guarded_route import guarded


class ChangeView(BaseModel):
    """One change.

    Attributes:
        at: When it began (UTC).
        who: Name of the principal that made it.
        what: What was done: `keys_create`, `key_rotate`, `key_update`, `key_delete` or
            `principal_delete`.
        target: The key or the principal that was changed.
        details: What it was changed to, without secrets.
        outcome: `ok`, the code of the error, or `begun` where the change is being made or its instance
            died.
    """

    at: datetime
    who: str
    what: str
    target: str
    details: Mapping[str, Any]
    outcome: str


class ChangeList(BaseModel):
    """Answer of `GET /changes`."""

    changes: list[ChangeView]
    cursor: str | None = Field(description="Gives the next page; null at the end.")


def changes_router(changes: AdminChanges, guard: Guard) -> APIRouter:
    """Returns the route that lists what ``admin`` changed."""
    router = APIRouter(tags=["keys"], route_class=guarded(guard, "admin"))

    @router.get("/changes", name="changes_list", summary="List what admin changed")
    async def list_changes(
        limit: Annotated[int, Query(ge=1, le=100, description="Maximum changes.")] = 20,
        cursor: Cursor | None = None,
    ) -> ChangeList:
        """Lists what was changed with the scope `admin`, newest first: who, what and when.

        A principal whose data were deleted stands there by a pseudonym.
        """
        with cursor_errors():
            page = await changes.list(limit, cursor)
        views = [ChangeView(**vars(each.record)) for each in page.records]
        return ChangeList(changes=views, cursor=page.cursor)

    return router
