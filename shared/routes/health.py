"""`GET /health`: what is configured, and on request whether it answers."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from time import monotonic
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from shared import __version__
from shared.auth import Guard
from shared.deadline import Deadline
from shared.errors import GatewayError
from shared.openai_service import Capability
from shared.routes.doors import admit, request_deadline
from shared.routes.errors import COMMON_ERRORS
from shared.services import Services
from shared.settings import Settings

DEEP_CHECK_SECONDS = 10


class Checks(BaseModel):
    """Whether each part is configured; secrets only as presence."""

    auth: bool
    openai: bool
    storage: bool


class Health(BaseModel):
    """Answer of `GET /health`.

    Attributes:
        status: ``degraded`` where callers would be refused: no keys, no provider, no storage, malformed
            settings.
        active_clients: Live sessions of this instance with other MCP servers.
        problems: A sentence for each malformed setting.
        deep: With ``deep=true``, for the provider and for storage: ``ok``, or the code of the error.
    """

    status: Literal["healthy", "degraded"]
    version: str
    build: str
    timestamp: datetime
    uptime_seconds: float
    active_clients: int
    checks: Checks
    problems: list[str]
    deep: dict[str, str] | None = None


def health_router(settings: Settings, guard: Guard, services: Services) -> APIRouter:
    """Returns the routes on the app's own state."""
    router = APIRouter(tags=["health"])
    started = monotonic()

    @router.get(
        "/health",
        name="health",
        responses={status: COMMON_ERRORS[status] for status in (401, 422, 503)},
        response_model_exclude_none=True,
    )
    async def health(
        request: Request,
        deep: Annotated[
            bool, Query(description="Ask the provider and storage too; needs a key.")
        ] = False,
    ) -> Health:
        """Says what is configured; always 200, whether healthy or degraded."""
        if deep:
            await admit(request, guard, None)
        checks = Checks(
            auth=guard.is_configured,
            openai=services.openai.is_configured,
            storage=services.storage.is_configured,
        )
        found = await _look_deep(services, request_deadline(request)) if deep else None
        is_configured = checks.auth and checks.openai and checks.storage and not settings.problems
        is_healthy = is_configured and set((found or {}).values()) <= {"ok"}
        return Health(
            status="healthy" if is_healthy else "degraded",
            version=__version__,
            build=settings.build_id,
            timestamp=datetime.now(UTC),
            uptime_seconds=round(monotonic() - started, 3),
            active_clients=services.connections.live_sessions,
            checks=checks,
            problems=list(settings.problems),
            deep=found,
        )

    return router


async def _look_deep(services: Services, deadline: Deadline) -> dict[str, str]:
    deadline = deadline.within(DEEP_CHECK_SECONDS)
    openai, storage = await asyncio.gather(
        _try(services.openai.list_models(Capability.CHAT, deadline)),
        _try(deadline.wait_for(services.media.check_reachable())),
    )
    return {"openai": openai, "storage": storage}


async def _try(check: Awaitable[object]) -> str:
    try:
        await check
    except GatewayError as error:
        return error.code
    return "ok"
