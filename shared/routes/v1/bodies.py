"""Bodies of requests under `/v1`: what is read of them, which providers get them, and what changes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from fastapi import Request
from pydantic_core import to_json

from shared.errors import InvalidRequest
from shared.media_parts import MediaParts
from shared.openai_service import Capability, Consumption, OpenAIService
from shared.openai_service.client import ProviderCall
from shared.openai_service.endpoints import Endpoints
from shared.openai_service.estimates import of_drawing, of_forwarded, of_recording
from shared.openai_service.forwarding import ForwardedRequest
from shared.openai_service.metering import Drawing
from shared.openai_service.provider_config import Provider
from shared.openai_service.routing import route
from shared.routes.v1.forms import Form
from shared.routes.v1.ids import refuse_ids

JSON = "application/json"

Body = dict[str, Any]
Adapt = Callable[[Body], Body]
"""Returns the fields that a body gets on its way; raises InvalidRequest for what cannot go."""

RESPONSES = "responses"
"""The path of the Responses API, below ``/v1``."""

_CHATS = ("chat/completions", RESPONSES)
_PICTURES = ("images/generations", "images/edits")
_INPUT_FIELDS = ("image", "image[]", "mask")
_FORM_FIELDS = ("prompt", "size", "quality", "n", "response_format", "output_format", "stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A caller's request on its way to a provider.

    Attributes:
        path: Path below the provider's base URL.
        calls: The calls to try in turn: the second one and those after it are fallbacks.
        fields: The fields of its body; of a form those without files.
        build: Returns the request as a call sends it.
        estimate: What it uses at most; None where it costs nothing.
        drawing: The picture that the provider may draw beside its answer.
        digest: Returns what tells its body apart from another one.
        hides_usage: Whether the usage of a stream was asked for by this app and not by the caller.
        wants_links: Whether the caller wants pictures as links of this app.
    """

    path: str
    calls: Sequence[ProviderCall]
    fields: Mapping[str, Any]
    build: Callable[[ProviderCall], ForwardedRequest]
    estimate: Consumption | None
    digest: Callable[[], bytes]
    drawing: Drawing | None = None
    hides_usage: bool = False
    wants_links: bool = False

    @property
    def is_streamed(self) -> bool:
        """Whether the caller wants events."""
        streamed = self.fields.get("stream") in (True, "true", "True", "1")
        return streamed or self.fields.get("stream_format") == "sse"


async def read_json(
    request: Request,
    openai: OpenAIService,
    capability: Capability,
    path: str,
    adapt: Adapt | None,
    media_parts: MediaParts,
) -> Outgoing:
    """Reads a JSON body.

    Args:
        request: The caller's.
        openai: The providers.
        capability: What the provider is asked for.
        path: Path below the provider's base URL.
        adapt: Returns the fields that the body gets on its way.
        media_parts: Has the stored media that messages name.

    Raises:
        NotFound: The caller has no medium that the body names.
        InvalidRequest: It cannot be sent on.
        ModelNotAllowed: The caller may not use a model that it names.
        NotConfigured: There is no provider.
    """
    fields = await read_fields(request)
    changes = {} if adapt is None else adapt(fields)
    raw = await request.body()
    if path in _CHATS:
        if b"media:" in raw:
            owner = request.state.call.principal.name
            changes = changes | await media_parts.replace_references(owner, fields | changes)
        refuse_ids(fields | changes)
    is_limited = openai.endpoints.limits_models
    wants_links = path in _PICTURES and fields.get("response_format") == "url"

    def build(call: ProviderCall) -> ForwardedRequest:
        sent = fields | changes if changes else fields
        if sent.get("model") != call.model:
            sent = sent | {"model": call.model}
        if wants_links:
            sent = sent | {"response_format": _link_format(call)}
            sent = {
                name: value for name, value in sent.items() if name != "response_format" or value
            }
        # Of a field that comes twice the provider may read the other one.
        body = raw if sent is fields and not is_limited else to_json(sent)
        return ForwardedRequest(path=path, body=body, content_type=JSON)

    calls = _route(openai.endpoints, capability, fields.get("model"))
    openai.endpoints.check_other_models(fields)
    return Outgoing(
        path=path,
        calls=calls,
        fields=fields,
        build=build,
        estimate=of_forwarded(path, fields),
        drawing=of_drawing(path, fields),
        digest=lambda: sha256(json.dumps(fields, sort_keys=True).encode()).digest(),
        hides_usage="stream_options" in changes,
        wants_links=wants_links,
    )


async def read_form(
    request: Request, openai: OpenAIService, capability: Capability, path: str
) -> Outgoing:
    """Reads a form; its media type holds the boundary, by which it stays what it is.

    Args:
        request: The caller's.
        openai: The providers.
        capability: What the provider is asked for.
        path: Path below the provider's base URL.

    Raises:
        InvalidRequest: It cannot be sent on.
        ModelNotAllowed: The caller may not use the model.
        NotConfigured: There is no provider.
    """
    form = Form(await request.body(), request.headers.get("content-type", ""))
    model = form.text("model")
    if model is None and openai.endpoints.limits_models:
        raise InvalidRequest.for_field("model", "Name the model: this key may not use every model")
    openai.endpoints.check_field_names(form.names)
    given = ((name, form.text(name)) for name in _FORM_FIELDS)
    fields = {name: value for name, value in given if value is not None}
    wants_links = path in _PICTURES and fields.get("response_format") == "url"

    def build(call: ProviderCall) -> ForwardedRequest:
        changed = form
        if wants_links and (value := _link_format(call)):
            changed = Form(form.replaced("response_format", value), form.content_type)
        elif wants_links:
            changed = form.without("response_format")
        body = changed.body
        if model is not None and model != call.model:
            body = changed.replaced("model", call.model or "")
        return ForwardedRequest(path=path, body=body, content_type=form.content_type)

    return Outgoing(
        path=path,
        calls=_route(openai.endpoints, capability, model),
        fields=fields,
        build=build,
        estimate=_estimate_form(path, form, fields),
        digest=form.digest,
        wants_links=wants_links,
    )


async def read_fields(request: Request) -> Body:
    """Returns the fields of a JSON body.

    Raises:
        InvalidRequest: It is no JSON object.
    """
    fields = await request.json() if await request.body() else None
    if not isinstance(fields, dict):
        raise InvalidRequest(
            "Send a JSON object, with the header 'Content-Type: application/json'."
        )
    return fields


def ask_for_usage(fields: Body) -> Body:
    """Asks for the usage of a stream in any case: without it nobody knows what it costs."""
    options = fields.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidRequest.for_field("stream_options", "Give an object")
    given = options or {}
    # What the provider stores would be one pool for all principals.
    changes: Body = {"store": False} if fields.get("store") else {}
    if not fields.get("stream") or given.get("include_usage"):
        return changes
    return changes | {"stream_options": {**given, "include_usage": True}}


def _link_format(call: ProviderCall) -> str | None:
    """Returns the ``response_format`` for pictures that this app stores and links to itself."""
    # GPT image models refuse the parameter and give base64 anyway; Gemini gives URLs without it.
    return "b64_json" if call.config.provider is Provider.GEMINI else None


def _route(endpoints: Endpoints, capability: Capability, model: object) -> Sequence[ProviderCall]:
    """Returns the calls to try in turn: the second one and those after it are fallbacks."""
    if model is not None and (not isinstance(model, str) or not model):
        raise InvalidRequest.for_field("model", "Give the name of a model")
    return route(endpoints, capability, model)


def _estimate_form(path: str, form: Form, fields: Mapping[str, str]) -> Consumption | None:
    if path == "audio/transcriptions":
        size, head = len(form.body), form.body[:4096]
        return of_recording(size, "wav" if b"WAVEfmt " in head else "")
    return of_forwarded(path, fields, sum(form.count(name) for name in _INPUT_FIELDS))
