"""Where requests come in: each is recorded, meets the next fault, and then gets its answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from local.stand_in.call import Body, Call, Refusal
from local.stand_in.faults import Fault, FaultQueue

Handler = Callable[[Call], Awaitable[Response]]

PIECE_BYTES = 4096
"""How much of a file is sent at once, at most."""


class Reception:
    """Makes the routes of OpenAI's API, and remembers for all of them.

    Attributes:
        faults: The faults to come.
        requests: The requests seen.
    """

    def __init__(self) -> None:
        self.faults = FaultQueue()
        self.requests: list[dict[str, Any]] = []

    def route(self, method: str, path: str, handler: Handler) -> Route:
        """Returns a route of OpenAI's API under any base path.

        Args:
            method: Its HTTP method.
            path: Its path after the base path, as in ``chat/completions``.
            handler: Answers what no fault answers.
        """

        async def endpoint(request: Request) -> Response:
            try:
                call = await self._admit(request)
                return _failure(call.fault) or await handler(call)
            except Refusal as refusal:
                return _error(refusal)

        # OpenAI's base path is /v1; Azure has /openai/v1 and /openai/deployments/NAME.
        return Route(f"/{{base:path}}/{path}", endpoint, methods=[method])

    async def _admit(self, request: Request) -> Call:
        seen = {
            "method": request.method,
            "path": request.url.path,
            "query": dict(request.query_params),
            "headers": dict(request.headers),
            "body": None,
        }
        self.requests.append(seen)
        body = await Body.of(request)
        seen["body"] = body.record()
        fault = self.faults.next()
        await asyncio.sleep(fault.delay)
        return Call(request, body, fault)


def document(content: Any, fault: Fault, headers: dict[str, str] | None = None) -> Response:
    """Returns a JSON answer, cut in the middle where the fault says so."""
    body = json.dumps(content).encode()
    if fault.cut == "connection":
        return _BrokenResponse(body, media_type="application/json", headers=headers)
    if fault.cut == "clean":
        body = body[: len(body) // 2]
    return Response(body, media_type="application/json", headers=headers)


def file(content: bytes, media_type: str, fault: Fault) -> Response:
    """Returns an answer of bytes, sent in pieces."""
    # Two pieces at least, so that every file can be cut.
    size = max(1, min(PIECE_BYTES, -(-len(content) // 2)))
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return stream(pieces, len(pieces), media_type, fault)


def stream(pieces: Iterable[bytes], count: int, media_type: str, fault: Fault) -> Response:
    """Returns an answer that is sent in pieces and does not tell its length.

    Args:
        pieces: What to send.
        count: How many pieces to reckon with for a cut in the middle.
        media_type: Their content type.
        fault: What goes wrong.
    """

    async def sent() -> AsyncIterator[bytes]:
        for position, piece in enumerate(pieces):
            if fault.cut and position == max(1, count // 2):
                if fault.cut == "clean":
                    return
                raise ConnectionAbortedError
            await asyncio.sleep(fault.chunk_delay)
            yield piece

    return StreamingResponse(sent(), media_type=media_type)


def _failure(fault: Fault) -> Response | None:
    if fault.status is not None:
        refusal = Refusal(fault.message, status=fault.status, code=fault.code)
        return _error(refusal, fault.headers)
    if fault.body is not None:
        return Response(fault.body, media_type="application/json")
    return None


def _error(refusal: Refusal, headers: dict[str, str] | None = None) -> Response:
    error = {
        "message": refusal.message,
        "type": "stand_in_error",
        "param": refusal.param,
        "code": refusal.code,
    }
    return JSONResponse({"error": error}, status_code=refusal.status, headers=headers)


class _BrokenResponse(Response):
    """Breaks the connection in the middle of the answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        half = bytes(self.body)[: len(self.body) // 2]
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        await send({"type": "http.response.body", "body": half, "more_body": True})
        raise ConnectionAbortedError
