"""`GET /health`: what is configured, and on request whether it answers."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from shared import __version__
from shared.auth import EntraId, Guard
from shared.deadline import Deadline
from shared.errors import DeadlineExceeded, GatewayError, NotConfigured, ProviderError
from shared.routes.errors import ErrorBody, document_errors
from shared.routes.guarded_route import RouteHandler, authorize, request_deadline
from shared.routes.routing import DeferredRoute
from shared.services import Services
from shared.settings import Settings
from shared.telemetry import current_record

HEALTH_PATH = "/health"
DEEP_CHECK_SECONDS = 10
UNHEALTHY_STATUS = 503

UNUSABLE_ENTRIES = (
    "The setting API_KEYS has entries that let nobody in. GET /health with a key and the app's log say "
    "why."
)
"""What strangers are told of entries that are malformed or have expired."""


class Checks(BaseModel):
    """Whether each part is configured; secrets only as presence."""

    auth: bool
    openai: bool
    storage: bool


class Health(BaseModel):
    """Answer of `GET /health`.

    Attributes:
        status: ``unhealthy``, with HTTP status 503, where the protected routes answer nothing but 503 (a
            malformed setting, no keys), or where the deep check found a part that does not answer;
            ``degraded`` where some calls would be refused: no provider, no storage, a malformed entry of
            API_KEYS.
        active_clients: Live sessions of this instance with other MCP servers.
        problems: A sentence for each malformed setting, with a key the reason too and one for each
            entry of API_KEYS that is malformed or has expired, and with
            ``deep=true`` for each part that does not answer.
        warnings: With a key, a sentence for each configured model that ends within 60 days; absent
            where there is none.
        deep: With ``deep=true``, for the provider and for storage: ``ok``, or the code of the error;
            with the scope ``admin`` also for Entra ID: ``ok`` or ``misconfigured``.
    """

    status: Literal["healthy", "degraded", "unhealthy"]
    version: str
    build: str
    timestamp: datetime
    uptime_seconds: float
    active_clients: int
    checks: Checks
    problems: list[str]
    warnings: list[str] | None = None
    deep: dict[str, str] | None = None


_UNHEALTHY: dict[str, Any] = {
    "description": "Unhealthy: a setting is malformed, no key is configured, or, with `deep=true`, a "
    "provider or storage does not answer. The error's shape where `deep=true` meets no configured key.",
    "content": {
        "application/json": {
            "schema": {
                "anyOf": [
                    {"$ref": f"#/components/schemas/{model.__name__}"}
                    for model in (Health, ErrorBody)
                ]
            }
        }
    },
}


def health_router(
    settings: Settings, guard: Guard, services: Services, entra: EntraId | None
) -> APIRouter:
    """Returns the routes on the app's own state."""
    started = monotonic()

    class HealthRoute(DeferredRoute):
        def get_route_handler(self) -> RouteHandler:
            handler = super().get_route_handler()

            async def handle(request: Request) -> Response:
                # There is nothing to validate, for which FastAPI takes longer than all else.
                return await (handler if request.scope["query_string"] else health)(request)

            return handle

    router = APIRouter(tags=["health"], route_class=HealthRoute)

    @router.get(
        HEALTH_PATH,
        name="health",
        summary="Show the app's health",
        response_model=Health,
        responses={
            **document_errors(401),
            UNHEALTHY_STATUS: _UNHEALTHY,
        },
    )
    async def health(
        request: Request,
        deep: Annotated[
            bool, Query(description="Ask the providers and storage too; needs a key.")
        ] = False,
    ) -> Response:
        """Says what is configured: 200 for `healthy` and `degraded`, 503 for `unhealthy`."""
        caller = await authorize(request, guard, None) if deep else None
        entries = settings.auth.api_keys
        faults = entries.problems(datetime.now(UTC))
        has_problems = bool(settings.problems or faults)
        is_known = deep or (has_problems and await guard.knows(request.headers.get))
        problems = [*(settings.problems if is_known else settings.public_problems)]
        problems += faults if is_known else [UNUSABLE_ENTRIES] if faults else []
        checks = Checks(
            auth=await guard.is_configured(),
            openai=services.openai.is_configured,
            storage=services.storage.is_configured,
        )
        found = await _look_deep(services, request_deadline(request)) if deep else {}
        if entra is not None and caller is not None and "admin" in caller.scopes:
            found["entra"] = await _look_at_entra(entra, request_deadline(request))
        warnings = services.openai.shutdown_warnings()
        if warnings and not (is_known or await guard.knows(request.headers.get)):
            warnings = []
        problems += [part.sentence for part in found.values() if part.sentence]
        status: Literal["healthy", "degraded", "unhealthy"] = "healthy"
        is_fine = all(part.is_fine for part in found.values())
        if entries.faults or not (checks.openai and checks.storage and is_fine):
            status = "degraded"
        if settings.problems or not checks.auth or any(part.is_down for part in found.values()):
            status = "unhealthy"
        shown = Health(
            status=status,
            version=__version__,
            build=settings.build_id,
            timestamp=datetime.now(UTC),
            uptime_seconds=round(monotonic() - started, 3),
            active_clients=services.connections.live_sessions,
            checks=checks,
            problems=problems,
            warnings=warnings or None,
            deep={name: part.code for name, part in found.items()} if deep else None,
        )
        return Response(
            shown.model_dump_json(exclude_none=True),
            UNHEALTHY_STATUS if status == "unhealthy" else 200,
            media_type="application/json",
        )

    return router


@dataclass(frozen=True, slots=True)
class _Part:
    """What the deep check found of a part.

    Attributes:
        code: ``ok``, or the code of the error.
        sentence: What an operator needs to know; None where nothing is wrong.
        is_down: Whether it does not answer, or refuses this app.
    """

    code: str = "ok"
    sentence: str | None = None
    is_down: bool = False

    @property
    def is_fine(self) -> bool:
        return self.code == "ok"


async def _look_deep(services: Services, deadline: Deadline) -> dict[str, _Part]:
    deadline = deadline.within(DEEP_CHECK_SECONDS)
    openai = services.openai
    checks = [
        _look(
            openai.list_models(capabilities[0], fresh=True),
            f"The provider at {config.host} (for {', '.join(capabilities)})",
            deadline,
        )
        for config, capabilities in openai.endpoints.by_provider().items()
    ]
    storage = _look(services.media.check_reachable(), "Storage", deadline)
    stored, *provided = await asyncio.gather(storage, *checks)
    if not openai.is_configured:
        provided.append(_Part(NotConfigured.code))
    return {"openai": _worst(provided), "storage": stored}


async def _look_at_entra(entra: EntraId, deadline: Deadline) -> _Part:
    # Keys let callers in all the same, so that nothing of it makes the app unhealthy.
    try:
        async with deadline.within(DEEP_CHECK_SECONDS).scope():
            problems = await entra.find_problems()
    except DeadlineExceeded as error:
        return _Part(error.code, "The tenant of ENTRA_TENANT_ID did not answer in time.")
    return _Part("misconfigured", " ".join(problems)) if problems else _Part()


async def _look(check: Awaitable[object], name: str, deadline: Deadline) -> _Part:
    try:
        async with deadline.scope():
            await check
    except NotConfigured as error:
        return _Part(error.code)
    except DeadlineExceeded as error:
        return _down(error, f"{name} did not answer within {DEEP_CHECK_SECONDS} seconds.")
    except ProviderError as error:
        sentence = f"{name} failed: {error.reason or error.code}. {error.detail}"
        # One that only knows no list of models does answer.
        answers = error.failure.outcome == "client_error"
        return _Part(error.code, sentence) if answers else _down(error, sentence)
    except GatewayError as error:
        return _down(error, error.detail)
    return _Part()


def _down(error: GatewayError, sentence: str) -> _Part:
    current_record().fail(error.failure)
    return _Part(error.code, sentence, is_down=True)


def _worst(parts: Sequence[_Part]) -> _Part:
    """Returns one for all: the code of the worst, and the sentences of each."""
    worst = max(parts, key=lambda part: (part.is_down, not part.is_fine))
    sentences = [part.sentence for part in parts if part.sentence]
    return replace(worst, sentence=" ".join(sentences) or None)
