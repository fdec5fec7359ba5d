"""The stand-in's routes: OpenAI's under any base path, and switches for tests beside them."""

import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.stand_in.call import Call, Refusal
from local.stand_in.completion import chunk_bodies, make_answer, whole_body
from local.stand_in.faults import Fault
from local.stand_in.images import edit_images, generate_images
from local.stand_in.reception import Reception, document, stream
from local.stand_in.speech import speak
from local.stand_in.styles import in_style_of, refuse
from local.stand_in.transcription import transcribe
from local.stand_in.video import Videos

VIDEO_MODEL = "stand-in-video"

MODELS: dict[str, str | None] = {
    "gpt-6-luna": None,
    "gpt-image-2.5-flare": None,
    "gpt-4o-mini-tts": "2027-01-06",
    "gpt-transcribe": None,
    VIDEO_MODEL: None,
}
"""The models it lists, with their shutdown dates: the app's defaults, so that all are available."""


class StandIn:
    """The routes and what they remember: faults to come, requests seen, videos made."""

    def __init__(self) -> None:
        self._reception = Reception()
        self._videos = Videos()

    def routes(self) -> list[Route]:
        """Returns all routes."""
        openai = self._reception.route
        return [
            openai("POST", "chat/completions", complete),
            openai("GET", "models", list_models),
            openai("POST", "images/generations", generate_images),
            openai("POST", "images/edits", edit_images),
            openai("POST", "audio/speech", speak),
            openai("POST", "audio/transcriptions", transcribe),
            openai("POST", "videos", self._videos.create),
            openai("GET", "videos/{id}", self._videos.retrieve),
            openai("GET", "videos/{id}/content", self._videos.content),
            Route("/faults", self._set_fault, methods=["POST"]),
            Route("/faults", self._forget, methods=["DELETE"]),
            Route("/requests", self._seen, methods=["GET"]),
        ]

    async def _set_fault(self, request: Request) -> Response:
        self._reception.faults.add(Fault.model_validate_json(await request.body()))
        return Response(status_code=204)

    async def _forget(self, request: Request) -> Response:
        self._reception.faults.clear()
        self._reception.requests.clear()
        self._videos.clear()
        return Response(status_code=204)

    async def _seen(self, request: Request) -> Response:
        # In ASCII, which can show what is no Unicode too.
        return Response(json.dumps(self._reception.requests), media_type="application/json")


def create_stand_in() -> Starlette:
    """Returns a stand-in of its own, with no faults and no memory."""
    return Starlette(routes=StandIn().routes())


async def complete(call: Call) -> Response:
    """Answers `POST /v1/chat/completions`."""
    body = call.body.fields
    if complaint := _complaint(body):
        raise Refusal(complaint)
    if refused := refuse(body, call.fault):
        return refused
    answer = make_answer(body, call.fault)
    if not body.get("stream"):
        whole = in_style_of(call.fault.style, [whole_body(body["model"], answer)], "message")
        return document(whole[-1], call.fault)
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    chunks = list(chunk_bodies(body["model"], answer, with_usage=with_usage))
    chunks = in_style_of(call.fault.style, chunks, "delta")
    events = [f"data: {data}\n\n".encode() for data in [*map(json.dumps, chunks), "[DONE]"]]
    return stream(events, len(chunks), "text/event-stream", call.fault)


async def list_models(call: Call) -> Response:
    """Answers `GET /v1/models`."""
    rows = [
        {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "stand-in",
            "shutdown_date": day,
        }
        for name, day in MODELS.items()
    ]
    return document({"object": "list", "data": rows}, call.fault)


def _complaint(body: Any) -> str | None:
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return "You must provide a model parameter."
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "Invalid 'messages': expected an array of at least one message."
    return None
