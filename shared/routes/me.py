"""`/me`: who is calling, and what they may do and use."""

from contextlib import suppress
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from shared.auth import Guard
from shared.errors import NotConfigured, StorageUnavailable
from shared.model_access import common_patterns
from shared.routes.guarded_route import Context, guarded
from shared.settings import SCOPES, Scope, Settings
from shared.usage import Ledger


class Me(BaseModel):
    """Answer of `GET /me`.

    Attributes:
        principal: Who is calling.
        display_name: A name to show to people, where Entra ID gives one.
        scopes: What they may do.
        models: Patterns of the models that they may use; null: any. Where several lists apply, those of
            the key, of the user that it speaks for and of ALLOWED_MODELS, what is in all of them.
        limits: Each limit with how much it allows (``limit``), how much is used (``used``, null where
            that is not known) and when it resets (``resets_at``). Where a key speaks for a user, both
            limits hold, and the one with the least left is shown.
        usage: What is used of each limit, by its name; null where that is not known.
        expires: Until when the key or the token is valid; null: for ever.
        spoken_for_by: The key that speaks for the principal; null where it is their own.
    """

    principal: str
    display_name: str | None = Field(exclude_if=lambda name: name is None)
    scopes: list[Scope]
    models: list[str] | None
    limits: dict[str, dict[str, Any]]
    usage: dict[str, float | None]
    expires: str | None
    spoken_for_by: str | None


def me_router(settings: Settings, guard: Guard, ledger: Ledger) -> APIRouter:
    """Returns the route that tells callers who they are.

    Args:
        settings: Which models everybody may use.
        guard: The guard that authenticates.
        ledger: Says how much is used of the limits.
    """
    router = APIRouter(tags=["keys"], route_class=guarded(guard, None))

    @router.get("/me", name="me", summary="Show who is calling")
    async def me(context: Context) -> Me:
        """Says who is calling, and what they may do and use."""
        principal = context.principal
        limits: dict[str, dict[str, Any]] = {
            name: {"limit": allowed, "used": None, "resets_at": None}
            for name, allowed in ledger.allowed(principal).items()
        }
        # Who is calling is known without storage, too.
        with suppress(NotConfigured, StorageUnavailable):
            for each in await ledger.standings(principal):
                limits[each.limit] = {
                    "limit": each.allowed,
                    "used": each.used,
                    "resets_at": each.resets_at,
                }
        lists = [*principal.models]
        if settings.allowed_models is not None:
            lists.append(settings.allowed_models)
        return Me(
            principal=principal.name,
            display_name=principal.display_name,
            scopes=sorted(principal.scopes, key=SCOPES.index),
            models=common_patterns(lists) if lists else None,
            limits=limits,
            usage={name: standing["used"] for name, standing in limits.items()},
            expires=principal.expires,
            spoken_for_by=principal.spoken_for_by,
        )

    return router
