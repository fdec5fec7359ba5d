"""`GET /health`: what is configured, and on request whether it answers."""

from datetime import UTC, datetime
from time import monotonic
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from shared import __version__
from shared.auth import Guard
from shared.deadline import Deadline
from shared.errors import GatewayError
from shared.openai_service import Capability, OpenAIService
from shared.routes.doors import admit, request_deadline
from shared.routes.errors import COMMON_ERRORS
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
        status: ``degraded`` where callers would be refused: no keys, no provider, malformed settings.
        active_clients: Live sessions of this instance with other MCP servers.
        problems: A sentence for each malformed setting.
        deep: With ``deep=true``: ``ok``, or the code of the error that the provider gave.
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


def health_router(settings: Settings, guard: Guard, openai: OpenAIService) -> APIRouter:
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
        deep: Annotated[bool, Query(description="Ask the provider too; needs a key.")] = False,
    ) -> Health:
        """Says what is configured; always 200, whether healthy or degraded."""
        if deep:
            await admit(request, guard, None)
        checks = Checks(auth=guard.is_configured, openai=openai.is_configured, storage=False)
        provider = await _ask_provider(openai, request_deadline(request)) if deep else None
        is_healthy = (
            checks.auth and checks.openai and not settings.problems and provider in (None, "ok")
        )
        return Health(
            status="healthy" if is_healthy else "degraded",
            version=__version__,
            build=settings.build_id,
            timestamp=datetime.now(UTC),
            uptime_seconds=round(monotonic() - started, 3),
            active_clients=0,
            checks=checks,
            problems=list(settings.problems),
            deep={"openai": provider} if provider else None,
        )

    return router


async def _ask_provider(openai: OpenAIService, deadline: Deadline) -> str:
    try:
        await openai.list_models(Capability.CHAT, deadline.within(DEEP_CHECK_SECONDS))
    except GatewayError as error:
        return error.code
    return "ok"
