"""`/v1`: OpenAI's API, forwarded to the provider as it comes.

A request goes on with the fields that it has, and an answer comes back as the bytes that the provider
sends. Read on the side are the model, errors, the end of a stream and the usage.

Source: https://platform.openai.com/docs/api-reference
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from time import monotonic
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic_core import from_json, to_json

from shared.auth import Guard
from shared.deadline import time_limit
from shared.errors import GatewayError, InvalidRequest, NotFound, ProviderError, ProviderUnavailable
from shared.openai_service import Capability, Consumption, OpenAIService
from shared.openai_service.charge import Charge
from shared.openai_service.client import ProviderCall
from shared.openai_service.estimates import of_forwarded, of_recording, reported_usage
from shared.openai_service.event_streams import StreamReader
from shared.openai_service.forwarding import ForwardedAnswer, ForwardedRequest
from shared.openai_service.provider_config import ProviderConfig
from shared.openai_service.service import ModelList
from shared.routes.forms import field_names, find_field
from shared.routes.forwarded_stream import ForwardedStream
from shared.routes.guard import guarded
from shared.settings import Scope

logger = logging.getLogger(__name__)

SCOPE: Scope = "openai"

MAX_BODY_BYTES = 32 * 1024 * 1024
"""Maximum bytes of a chat or a response: its parts may hold pictures and files."""

MAX_FORM_BYTES = 95 * 1024 * 1024
"""Maximum bytes of a form: the Functions host takes 100 MB."""

MAX_ANSWER_BYTES = 128 * 1024 * 1024
"""Maximum bytes of a JSON answer, which is held in memory: ten large pictures in base64."""

MODEL_LIST_SECONDS = 10
"""That a provider may take to list its models."""

EVENT_STREAM = "text/event-stream"
JSON = "application/json"

Body = dict[str, Any]
Adapt = Callable[[Body], Body]
"""Returns the fields that a body gets or loses on its way; raises InvalidRequest for what cannot go."""

_PASSED_HEADERS = ("content-type", "content-disposition", "openai-processing-ms", "openai-version")
_PASSED_PREFIX = "x-ratelimit-"


def openai_router(openai: OpenAIService, guard: Guard, ping_seconds: float) -> APIRouter:
    """Returns the routes of OpenAI's API.

    Args:
        openai: The providers.
        guard: The guard that authenticates and authorizes.
        ping_seconds: Of silence in a stream, after which a comment keeps proxies from giving up.
    """
    router = APIRouter(prefix="/v1", tags=["openai"], route_class=guarded(guard, SCOPE))
    long_route = guarded(guard, SCOPE, MAX_BODY_BYTES)
    form_route = guarded(guard, SCOPE, MAX_FORM_BYTES)
    forwarding = _Forwarding(openai, ping_seconds)

    @router.get("/models", name="openai_models", summary="List models")
    async def list_models() -> JSONResponse:
        """Lists the models that may be used."""
        return JSONResponse({"object": "list", "data": await _models(openai)})

    @router.get("/models/{model:path}", name="openai_model", summary="Show a model")
    async def get_model(model: str) -> JSONResponse:
        """Returns one model."""
        for row in await _models(openai):
            if row["id"] == model:
                return JSONResponse(row)
        raise NotFound(f"There is no model '{model}'. GET /v1/models lists those that may be used.")

    def forward_json(
        path: str, name: str, capability: Capability, summary: str, adapt: Adapt | None = None
    ) -> None:
        async def forward(request: Request) -> Response:
            """Forwards the JSON body to the provider; OpenAI's reference describes its fields."""
            return await forwarding.send_json(request, capability, path, adapt)

        router.add_api_route(
            f"/{path}",
            forward,
            methods=["POST"],
            name=name,
            summary=summary,
            route_class_override=long_route,
            response_class=Response,
            openapi_extra=_body_of(JSON),
        )

    def forward_form(path: str, name: str, capability: Capability, summary: str) -> None:
        async def forward(request: Request) -> Response:
            """Forwards the form to the provider; OpenAI's reference describes its fields."""
            return await forwarding.send_form(request, capability, path)

        router.add_api_route(
            f"/{path}",
            forward,
            methods=["POST"],
            name=name,
            summary=summary,
            route_class_override=form_route,
            response_class=Response,
            openapi_extra=_body_of("multipart/form-data"),
        )

    chat, image = Capability.CHAT, Capability.IMAGE
    speech, transcription = Capability.AUDIO, Capability.TRANSCRIPTION
    forward_json(
        "chat/completions", "openai_chat_completions", chat, "Chat completion", _ask_for_usage
    )
    forward_json("responses", "openai_responses", chat, "Response", _make_stateless)
    forward_json("embeddings", "openai_embeddings", chat, "Embeddings")
    forward_json("moderations", "openai_moderations", chat, "Moderation")
    forward_json("images/generations", "openai_images_generations", image, "Generate images")
    forward_json("audio/speech", "openai_audio_speech", speech, "Synthesize speech")
    forward_form("images/edits", "openai_images_edits", image, "Edit images")
    forward_form(
        "audio/transcriptions", "openai_audio_transcriptions", transcription, "Transcribe audio"
    )

    @router.api_route(
        "/{path:path}",
        methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        name="openai_unknown",
        include_in_schema=False,
    )
    async def unknown(path: str) -> Response:
        """Answers what is not there in OpenAI's format."""
        raise NotFound(
            f"There is no route /v1/{path} here with this method. See GET /openapi.json."
        )

    return router


class _Forwarding:
    """Sends requests of callers on to the providers of their models."""

    def __init__(self, openai: OpenAIService, ping_seconds: float) -> None:
        self._openai = openai
        self._ping_seconds = ping_seconds

    async def send_json(
        self, request: Request, capability: Capability, path: str, adapt: Adapt | None
    ) -> Response:
        """Sends a JSON body on.

        Args:
            request: The caller's.
            capability: What the provider is asked for.
            path: Path below the provider's base URL.
            adapt: Returns the fields that the body gets on its way.
        """
        fields = await _fields(request)
        changes = {} if adapt is None else adapt(fields)
        raw = await request.body()

        def build(model: str) -> ForwardedRequest:
            changed = changes if fields.get("model") == model else changes | {"model": model}
            # Of a field that comes twice the provider may read the other one.
            body = to_json(fields | changed) if changed or is_limited else raw
            return ForwardedRequest(path=path, body=body, content_type=JSON)

        calls = self._route(capability, fields.get("model"))
        is_limited = self._openai.endpoints.limits_models
        self._openai.endpoints.check_other_models(fields)
        hides_usage = "stream_options" in changes
        estimate = of_forwarded(path, fields)
        return await self._send(request, calls, build, estimate, hides_usage=hides_usage)

    async def send_form(self, request: Request, capability: Capability, path: str) -> Response:
        """Sends a form on; its media type holds the boundary, by which it stays what it is."""
        body = await request.body()
        content_type = request.headers.get("content-type", "")
        found = find_field(body, content_type, "model")
        asked = None if found is None else body[slice(*found)].decode("utf-8", "replace")
        if asked is None and self._openai.endpoints.limits_models:
            raise InvalidRequest.for_field(
                "model", "Name the model: this key may not use every model"
            )

        self._openai.endpoints.check_field_names(field_names(body, content_type))

        def build(model: str) -> ForwardedRequest:
            changed = body
            if found is not None and asked != model:
                changed = body[: found[0]] + model.encode() + body[found[1] :]
            return ForwardedRequest(path=path, body=changed, content_type=content_type)

        estimate = _estimate_form(path, body, content_type)
        return await self._send(request, self._route(capability, asked), build, estimate)

    def _route(self, capability: Capability, model: object) -> Sequence[ProviderCall]:
        """Returns the calls to try in turn: the second one and those after it are fallbacks."""
        if model is not None and (not isinstance(model, str) or not model):
            raise InvalidRequest.for_field("model", "Give the name of a model")
        endpoints = self._openai.endpoints
        configured = endpoints.find(capability)
        is_configured = configured is not None and model in (None, configured.model)
        return [
            ProviderCall(capability, endpoint.config, endpoint.choose_model(None), is_configured)
            for endpoint in endpoints.route(capability, model)
        ]

    async def _send(
        self,
        request: Request,
        calls: Sequence[ProviderCall],
        build: Callable[[str], ForwardedRequest],
        estimate: Consumption | None,
        *,
        hides_usage: bool = False,
    ) -> Response:
        started = monotonic()
        async with AsyncExitStack() as held:
            if estimate is not None:
                # The call lasts as long as the stream.
                held.enter_context(request.state.call.usage.part())
            answer, call, charge = await self._open(held, calls, build, estimate)
            headers = _headers(answer, call, started)
            media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if media_type == JSON:
                body = await answer.read(MAX_ANSWER_BYTES)
                if charge is not None:
                    _report(charge, _decode(body))
                return Response(body, answer.status, headers)
            reader = StreamReader(hides_usage=hides_usage) if media_type == EVENT_STREAM else None
            return ForwardedStream(
                request, answer, held.pop_all(), headers, reader, charge, self._ping_seconds
            )

    async def _open(
        self,
        held: AsyncExitStack,
        calls: Sequence[ProviderCall],
        build: Callable[[str], ForwardedRequest],
        estimate: Consumption | None,
    ) -> tuple[ForwardedAnswer, ProviderCall, Charge | None]:
        """Returns the first answer that is no failure of its provider, its call, and its charge."""
        for call in calls[:-1]:
            try:
                return await self._try(held, call, build, estimate)
            except ProviderError as error:
                if error.failure.outcome != "provider_error":
                    raise
        return await self._try(held, calls[-1], build, estimate)

    async def _try(
        self,
        held: AsyncExitStack,
        call: ProviderCall,
        build: Callable[[str], ForwardedRequest],
        estimate: Consumption | None,
    ) -> tuple[ForwardedAnswer, ProviderCall, Charge | None]:
        async with AsyncExitStack() as trying:
            charge = None
            if estimate is not None:
                charge = await trying.enter_async_context(self._openai.charge(call, estimate))
            sending = self._openai.forwarder.send(call, build(call.model or ""), charge)
            answer = await trying.enter_async_context(sending)
            held.push_async_exit(trying.pop_all())
        return answer, call, charge


def _estimate_form(path: str, body: bytes, content_type: str) -> Consumption | None:
    if path == "audio/transcriptions":
        return of_recording(len(body), "wav" if b"WAVEfmt " in body[:4096] else "")
    places = {
        name: find_field(body, content_type, name) for name in ("prompt", "size", "quality", "n")
    }
    fields = {
        name: body[slice(*place)].decode("utf-8", "replace")
        for name, place in places.items()
        if place is not None
    }
    return of_forwarded(path, fields)


def _report(charge: Charge, answer: Mapping[str, Any]) -> None:
    """Notes the model and the usage of an answer."""
    model, rows = answer.get("model"), answer.get("data")
    made = [row for row in rows if _is_image(row)] if isinstance(rows, list) else []
    consumption = reported_usage(answer.get("usage"), len(made) or None)
    charge.report(consumption, model if isinstance(model, str) else None)


def _is_image(row: object) -> bool:
    return isinstance(row, Mapping) and bool(row.get("b64_json") or row.get("url"))


async def _fields(request: Request) -> Body:
    fields = await request.json() if await request.body() else None
    if not isinstance(fields, dict):
        raise InvalidRequest(
            "Send a JSON object, with the header 'Content-Type: application/json'."
        )
    return fields


def _ask_for_usage(fields: Body) -> Body:
    """Asks for the usage of a stream in any case: without it nobody knows what it costs."""
    options = fields.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidRequest.for_field("stream_options", "Give an object")
    if not fields.get("stream") or (isinstance(options, dict) and options.get("include_usage")):
        return {}
    return {"stream_options": {**(options or {}), "include_usage": True}}


def _make_stateless(fields: Body) -> Body:
    """Keeps the provider from storing a response: its store would be one for all principals."""
    reasons = {
        "previous_response_id": "Responses are not stored: send the whole input instead",
        "conversation": "Conversations of the provider would be shared: send the whole input instead",
        "background": "Responses are not stored, so none can go on without its request",
    }
    for name, reason in reasons.items():
        if fields.get(name):
            raise InvalidRequest.for_field(name, reason)
    return {"store": False}


def _headers(answer: ForwardedAnswer, call: ProviderCall, started: float) -> dict[str, str]:
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name in _PASSED_HEADERS or name.startswith(_PASSED_PREFIX)
    }
    headers.setdefault("openai-processing-ms", str(round((monotonic() - started) * 1000)))
    return headers | {
        "cache-control": "no-store",
        "x-accel-buffering": "no",
        "x-provider": call.config.label,
    }


def _decode(body: bytes) -> Mapping[str, Any]:
    try:
        value = from_json(body)
    except ValueError as error:
        raise ProviderUnavailable("The provider's answer is not valid JSON. Try again.") from error
    return value if isinstance(value, Mapping) else {}


async def _models(openai: OpenAIService) -> list[dict[str, Any]]:
    """Returns the models that are configured or that the providers list, by name."""
    endpoints = openai.endpoints
    served = endpoints.by_provider()
    configs = list(dict.fromkeys([*served, *endpoints.named.configs]))
    listings = await asyncio.gather(*(_listed(openai, config) for config in configs))
    rows: dict[str, dict[str, Any]] = {}
    for config, listed in zip(configs, listings, strict=True):
        configured = [endpoints.get(each) for each in served.get(config, ())]
        for name in [*listed, *(each.model or each.target for each in configured)]:
            if not endpoints.may_use(config, name):
                continue
            shown = name
            if config.name is not None and not endpoints.named.serves(config, name):
                shown = f"{config.name}/{name}"
            rows.setdefault(shown, _row(shown, config, listed.get(name)))
    return [rows[name] for name in sorted(rows)]


async def _listed(openai: OpenAIService, config: ProviderConfig) -> ModelList:
    try:
        async with time_limit(MODEL_LIST_SECONDS):
            return await openai.list_models_of(config)
    except GatewayError as error:
        logger.warning("The models of %s are unknown: %s", config.host, error.code)
        return {}


def _row(name: str, config: ProviderConfig, shutdown_date: str | None) -> dict[str, Any]:
    row = {"id": name, "object": "model", "created": 0, "owned_by": config.label}
    return row if shutdown_date is None else {**row, "shutdown_date": shutdown_date}


def _body_of(media_type: str) -> dict[str, Any]:
    schema = {"type": "object", "additionalProperties": True}
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}
