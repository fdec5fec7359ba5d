"""The routes of `/v1`: OpenAI's API, forwarded to the provider unchanged.

A request goes on with the fields that it has, and an answer comes back as the bytes that the provider
sends. Read on the side are the model, errors, the end of a stream and the usage; pictures and clips are
stored besides. The parts: `bodies` (what goes on), `ids` (what may not), `forwarding` (what comes back),
`detached` (what goes on without its caller, is stored, and is kept for repeats), `models`, and `agent`
(the model of this name).

Source: https://platform.openai.com/docs/api-reference
"""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from shared.agent import Agent
from shared.auth import Guard
from shared.errors import NotFound
from shared.media_parts import MediaParts
from shared.openai_service import Capability, OpenAIService
from shared.outbound import Downloads
from shared.routes.guarded_route import Context, guarded
from shared.routes.routing import refusing
from shared.routes.v1.agent import AGENT, AgentModel, replace_code_calls, replace_work
from shared.routes.v1.bodies import (
    JSON,
    Adapt,
    Body,
    ask_for_usage,
    read_fields,
    read_form,
    read_json,
)
from shared.routes.v1.detached import KEPT_PATHS, MEDIA_CALLS, DetachedCalls
from shared.routes.v1.forwarding import Forwarding
from shared.routes.v1.ids import make_stateless
from shared.routes.v1.models import list_models
from shared.settings import Scope
from shared.storage import MediaStore
from shared.tools import Claims

SCOPE: Scope = "openai"

MAX_JSON_BYTES = 32 * 1024 * 1024
"""Maximum bytes of a JSON body: the parts of a chat or a response may hold pictures and files."""

MAX_FORM_BYTES = 95 * 1024 * 1024
"""Maximum bytes of a form: the Functions host takes 100 MB."""

FORM = "multipart/form-data"
_ANY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE")
AGENT_PATHS = ("chat/completions", "responses")


@dataclass(frozen=True, slots=True)
class _Route:
    """A route that forwards what it is sent.

    Attributes:
        path: Path below ``/v1``, and below the provider's base URL.
        capability: What the provider is asked for.
        summary: A title.
        media_type: Of the body.
        adapt: Returns the fields that a JSON body gets on its way.
    """

    path: str
    capability: Capability
    summary: str
    media_type: str = JSON
    adapt: Adapt | None = None

    @property
    def name(self) -> str:
        """The name of the route, and of its function."""
        return f"openai_{self.path.replace('/', '_')}"


def _adapt_response(fields: Body) -> Body:
    changes = make_stateless(fields) | replace_work(fields)
    return changes | replace_code_calls(fields | changes)


_ROUTES = (
    _Route("chat/completions", Capability.CHAT, "Chat completion", adapt=ask_for_usage),
    _Route("responses", Capability.CHAT, "Response", adapt=_adapt_response),
    _Route("embeddings", Capability.CHAT, "Embeddings"),
    _Route("moderations", Capability.CHAT, "Moderation"),
    _Route("images/generations", Capability.IMAGE, "Generate images"),
    _Route("audio/speech", Capability.AUDIO, "Synthesize speech"),
    _Route("images/edits", Capability.IMAGE, "Edit images", FORM),
    _Route("audio/transcriptions", Capability.TRANSCRIPTION, "Transcribe audio", FORM),
)


def openai_router(
    openai: OpenAIService,
    guard: Guard,
    ping_seconds: float,
    *,
    claims: Claims,
    media: MediaStore,
    downloads: Downloads,
    agent: Agent,
    media_parts: MediaParts,
) -> APIRouter:
    """Returns the routes of OpenAI's API.

    Args:
        openai: The providers.
        guard: The guard that authenticates and authorizes.
        ping_seconds: Of silence in a stream, after which a comment keeps proxies from giving up.
        claims: Claims calls by their idempotency keys.
        media: Stores pictures and clips.
        downloads: Fetches pictures that a provider returns as URLs.
        agent: Answers requests for the model ``agent``.
        media_parts: Has the stored media that messages name.
    """
    router = APIRouter(prefix="/v1", tags=["openai"], route_class=guarded(guard, SCOPE))
    classes = {
        JSON: guarded(guard, SCOPE, MAX_JSON_BYTES),
        FORM: guarded(guard, SCOPE, MAX_FORM_BYTES),
    }
    agent_model = AgentModel(agent, media_parts, ping_seconds)
    calls = DetachedCalls(Forwarding(openai, ping_seconds), claims, media, downloads)

    @router.get("/models", name="openai_models", summary="List models")
    async def get_models(context: Context) -> JSONResponse:
        """Lists the models that may be used."""
        return JSONResponse(
            {"object": "list", "data": await list_models(openai, context.principal)}
        )

    @router.get("/models/{model:path}", name="openai_model", summary="Show a model")
    async def get_model(model: str, context: Context) -> JSONResponse:
        """Returns one model."""
        for row in await list_models(openai, context.principal):
            if row["id"] == model:
                return JSONResponse(row)
        raise NotFound(f"There is no model '{model}'. GET /v1/models lists those that may be used.")

    def register(route: _Route) -> None:
        async def forward(request: Request) -> Response:
            """Forwards the body to the provider; OpenAI's reference describes its fields."""
            if route.path in AGENT_PATHS:
                fields = await read_fields(request)
                if fields.get("model") == AGENT:
                    return await agent_model.respond(request, route.path, fields)
            if route.media_type == FORM:
                outgoing = await read_form(request, openai, route.capability, route.path)
            else:
                outgoing = await read_json(
                    request, openai, route.capability, route.path, route.adapt, media_parts
                )
            return await calls.respond(request, outgoing)

        router.add_api_route(
            f"/{route.path}",
            forward,
            methods=["POST"],
            name=route.name,
            summary=route.summary,
            route_class_override=classes[route.media_type],
            response_class=Response,
            openapi_extra=_describe(route),
        )

    for route in _ROUTES:
        register(route)

    @router.api_route(
        "/{path:path}", methods=[*_ANY_METHOD], name="openai_unknown", include_in_schema=False
    )
    @refusing(*_ANY_METHOD)
    async def unknown(path: str) -> Response:
        """Answers what is not there in OpenAI's format."""
        raise NotFound(
            f"There is no route /v1/{path} here with this method. See GET /openapi.json."
        )

    return router


def _describe(route: _Route) -> dict[str, Any]:
    schema = {"type": "object", "additionalProperties": True}
    content = {route.media_type: {"schema": schema}}
    described: dict[str, Any] = {"requestBody": {"required": True, "content": content}}
    if route.path in MEDIA_CALLS or route.path in KEPT_PATHS:
        described["x-idempotency-key"] = True
    return described
