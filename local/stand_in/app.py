"""The stand-in's routes: OpenAI's under any base path, and switches for tests beside them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from local.stand_in.completion import chunk_bodies, make_answer, whole_body
from local.stand_in.faults import Fault, FaultQueue

MODELS: dict[str, str | None] = {
    "gpt-6-luna": None,
    "gpt-image-2.5-flare": None,
    "gpt-4o-mini-tts": "2027-01-06",
    "gpt-transcribe": None,
}
"""The models it lists, with their shutdown dates: the app's defaults, so that all are available."""


class StandIn:
    """The routes and what they remember: faults to come and requests seen."""

    def __init__(self) -> None:
        self.faults = FaultQueue()
        self.requests: list[dict[str, Any]] = []

    def routes(self) -> list[Route]:
        """Returns all routes."""
        return [
            # OpenAI's base path is /v1; Azure has /openai/v1 and /openai/deployments/NAME.
            Route("/{base:path}/chat/completions", self._complete, methods=["POST"]),
            Route("/{base:path}/models", self._models, methods=["GET"]),
            Route("/faults", self._set_fault, methods=["POST"]),
            Route("/faults", self._clear_faults, methods=["DELETE"]),
            Route("/requests", self._seen, methods=["GET"]),
        ]

    async def _complete(self, request: Request) -> Response:
        body = await self._read(request)
        fault = self.faults.next()
        await asyncio.sleep(fault.delay)
        if failure := _failure(fault):
            return failure
        complaint = _complaint(body)
        if complaint:
            return _error(400, complaint, "invalid_value")
        answer = make_answer(body, fault)
        if body.get("stream"):
            with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            chunks = chunk_bodies(body["model"], answer, with_usage=with_usage)
            return StreamingResponse(_events(list(chunks), fault), media_type="text/event-stream")
        document = json.dumps(whole_body(body["model"], answer)).encode()
        if fault.cut == "connection":
            return _CutResponse(document, media_type="application/json")
        return Response(document, media_type="application/json")

    async def _models(self, request: Request) -> Response:
        await self._read(request)
        fault = self.faults.next()
        await asyncio.sleep(fault.delay)
        if failure := _failure(fault):
            return failure
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
        return JSONResponse({"object": "list", "data": rows})

    async def _set_fault(self, request: Request) -> Response:
        self.faults.add(Fault.model_validate_json(await request.body()))
        return Response(status_code=204)

    async def _clear_faults(self, request: Request) -> Response:
        self.faults.clear()
        self.requests.clear()
        return Response(status_code=204)

    async def _seen(self, request: Request) -> Response:
        return JSONResponse(self.requests)

    async def _read(self, request: Request) -> Any:
        raw = await request.body()
        body = json.loads(raw) if raw else None
        headers = dict(request.headers)
        seen = {"path": request.url.path, "query": dict(request.query_params)}
        self.requests.append({**seen, "headers": headers, "body": body})
        return body


def create_stand_in() -> Starlette:
    """Returns a stand-in of its own, with no faults and no memory."""
    return Starlette(routes=StandIn().routes())


def _failure(fault: Fault) -> Response | None:
    if fault.status is not None:
        return _error(fault.status, fault.message, fault.code, fault.headers)
    if fault.body is not None:
        return Response(fault.body, media_type="application/json")
    return None


def _error(
    status: int, message: str, code: str | None, headers: dict[str, str] | None = None
) -> Response:
    error = {"message": message, "type": "stand_in_error", "param": None, "code": code}
    return JSONResponse({"error": error}, status_code=status, headers=headers)


def _complaint(body: Any) -> str | None:
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return "You must provide a model parameter."
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "Invalid 'messages': expected an array of at least one message."
    return None


async def _events(chunks: list[dict[str, Any]], fault: Fault) -> AsyncIterator[bytes]:
    for position, chunk in enumerate(chunks):
        if fault.cut and position == max(1, len(chunks) // 2):
            if fault.cut == "clean":
                return
            raise ConnectionAbortedError
        await asyncio.sleep(fault.chunk_delay)
        yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


class _CutResponse(Response):
    """Breaks the connection in the middle of the answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        half = bytes(self.body)[: len(self.body) // 2]
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        await send({"type": "http.response.body", "body": half, "more_body": True})
        raise ConnectionAbortedError
