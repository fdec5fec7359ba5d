"""The stand-in's routes: OpenAI's under any base path, and those for scripts and tests beside them."""

import json
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.stand_in.audio import speak, transcribe
from local.stand_in.chat import complete
from local.stand_in.embeddings import embed, moderate
from local.stand_in.exchange import Exchange, Recorder, document
from local.stand_in.images import edit_images, generate_images
from local.stand_in.responses import respond
from local.stand_in.script import Rule
from local.stand_in.videos import Videos

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
    """The routes and what they remember: rules to answer by, requests seen, videos made."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._recorder = Recorder(rules)
        self._videos = Videos()

    def routes(self) -> list[Route]:
        """Returns all routes."""
        openai = self._recorder.route
        return [
            openai("POST", "chat/completions", complete),
            openai("POST", "responses", respond),
            openai("POST", "embeddings", embed),
            openai("POST", "moderations", moderate),
            openai("GET", "models", list_models),
            openai("POST", "images/generations", generate_images),
            openai("POST", "images/edits", edit_images),
            openai("POST", "audio/speech", speak),
            openai("POST", "audio/transcriptions", transcribe),
            openai("POST", "videos", self._videos.create),
            openai("GET", "videos/{id}", self._videos.retrieve),
            openai("GET", "videos/{id}/content", self._videos.content),
            Route("/script", self._add_rule, methods=["POST"]),
            Route("/script", self._clear, methods=["DELETE"]),
            Route("/requests", self._seen, methods=["GET"]),
        ]

    async def _add_rule(self, request: Request) -> Response:
        self._recorder.script.add(Rule.model_validate_json(await request.body()))
        return Response(status_code=204)

    async def _clear(self, request: Request) -> Response:
        self._recorder.script.clear()
        self._recorder.requests.clear()
        self._videos.clear()
        return Response(status_code=204)

    async def _seen(self, request: Request) -> Response:
        # In ASCII, which can show what is no Unicode too.
        return Response(json.dumps(self._recorder.requests), media_type="application/json")


def create_stand_in(rules: Sequence[Rule] = ()) -> Starlette:
    """Returns a stand-in of its own.

    Args:
        rules: A script to answer by.
    """
    return Starlette(routes=StandIn(rules).routes())


async def list_models(exchange: Exchange) -> Response:
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
    return document({"object": "list", "data": rows}, exchange.rule)
