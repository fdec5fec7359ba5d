"""One request and its answer: decoding, recording, the script's rules, and answers that break off."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from local.stand_in.script import Rule, Script

Parameters = TypeVar("Parameters", bound=BaseModel)

PIECE_BYTES = 4096
"""How much of a file is sent at once, at most."""

_FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")


class Refusal(Exception):
    """The stand-in answers with an error in OpenAI's format.

    Attributes:
        message: What is wrong, as OpenAI words it.
        status: The HTTP status.
        code: The error's code.
        param: The parameter that is wrong.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = "invalid_value",
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param


@dataclass(frozen=True)
class Upload:
    """A file of a multipart body."""

    field: str
    filename: str | None
    content_type: str | None
    data: bytes


@dataclass(frozen=True)
class Exchange:
    """A request with its decoded body, and the rule that it met.

    Attributes:
        request: The request.
        rule: What is to be answered, or to go wrong.
        fields: The JSON value, or the text fields of a form; None without a body.
        uploads: The files of a form.
    """

    request: Request
    rule: Rule
    fields: Any = None
    uploads: Sequence[Upload] = field(default_factory=list)

    def parse(self, parameters: type[Parameters]) -> Parameters:
        """Returns the fields of the body, checked.

        Raises:
            Refusal: One is missing or has a value that it may not have.
        """
        if not isinstance(self.fields, Mapping) or not self.fields.get("model"):
            raise Refusal("You must provide a model parameter.", param="model")
        try:
            return parameters.model_validate(self.fields)
        except ValidationError as error:
            problem = error.errors()[0]
            name = str(problem["loc"][0])
            if problem["type"] == "missing":
                raise missing(name) from error
            reason = problem["msg"].removeprefix("Value error, ")
            raise Refusal(f"Invalid '{name}': {reason}.", param=name) from error

    def files(self, *names: str) -> list[Upload]:
        """Returns the files in the form's fields of these names.

        Raises:
            Refusal: One is empty.
        """
        found = [upload for upload in self.uploads if upload.field in names]
        for upload in found:
            if not upload.data:
                raise Refusal(f"Invalid '{upload.field}': the file is empty.", param=upload.field)
        return found


Handler = Callable[[Exchange], Awaitable[Response]]


class Recorder:
    """Makes the routes of OpenAI's API, and records what they are asked.

    Attributes:
        script: The rules to answer by.
        requests: The requests seen.
    """

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.script = Script(list(rules))
        self.requests: list[dict[str, Any]] = []

    def route(self, method: str, path: str, handler: Handler) -> Route:
        """Returns a route of OpenAI's API under any base path.

        Args:
            method: Its HTTP method.
            path: Its path after the base path, as in ``chat/completions``.
            handler: Answers what no rule answers.
        """

        async def endpoint(request: Request) -> Response:
            try:
                exchange = await self._record(request)
                return _scripted(exchange.rule) or await handler(exchange)
            except Refusal as refusal:
                return _error(refusal)

        # OpenAI's base path is /v1; Azure has /openai/v1 and /openai/deployments/NAME.
        return Route(f"/{{base:path}}/{path}", endpoint, methods=[method])

    async def _record(self, request: Request) -> Exchange:
        seen: dict[str, Any] = {
            "method": request.method,
            "path": request.url.path,
            "query": dict(request.query_params),
            "headers": dict(request.headers),
            "body": None,
        }
        self.requests.append(seen)
        fields, uploads = await _decode(request)
        seen["body"] = _with_sizes(fields, uploads) if uploads else fields
        rule = self.script.find(request.url.path, seen["body"])
        await asyncio.sleep(rule.delay)
        return Exchange(request, rule, fields, uploads)


def missing(name: str) -> Refusal:
    """Returns the refusal of a request without a parameter that it must have."""
    message = f"Missing required parameter: '{name}'."
    return Refusal(message, code="missing_required_parameter", param=name)


def document(content: Any, rule: Rule, headers: dict[str, str] | None = None) -> Response:
    """Returns a JSON answer, cut in the middle where the rule says so."""
    body = json.dumps(content).encode()
    if rule.cut == "connection":
        return _BrokenResponse(body, media_type="application/json", headers=headers)
    if rule.cut == "clean":
        body = body[: len(body) // 2]
    return Response(body, media_type="application/json", headers=headers)


def file(content: bytes, media_type: str, rule: Rule) -> Response:
    """Returns an answer of bytes, sent in pieces."""
    # Two pieces at least, so that every file can be cut.
    size = max(1, min(PIECE_BYTES, -(-len(content) // 2)))
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return stream(pieces, len(pieces), media_type, rule)


def stream(pieces: Iterable[bytes], count: int, media_type: str, rule: Rule) -> Response:
    """Returns an answer that is sent in pieces and does not tell its length.

    Args:
        pieces: What to send.
        count: How many pieces to reckon with for a cut in the middle.
        media_type: Their content type.
        rule: What goes wrong.
    """

    async def sent() -> AsyncIterator[bytes]:
        for position, piece in enumerate(pieces):
            if rule.cut and position == max(1, count // 2):
                if rule.cut == "clean":
                    return
                raise ConnectionAbortedError
            await asyncio.sleep(rule.chunk_delay)
            yield piece

    return StreamingResponse(sent(), media_type=media_type)


async def _decode(request: Request) -> tuple[Any, list[Upload]]:
    if not request.headers.get("content-type", "").startswith(_FORM_TYPES):
        raw = await request.body()
        try:
            return (json.loads(raw) if raw else None), []
        except ValueError as error:
            raise Refusal("We could not parse the JSON body of your request.") from error
    fields: dict[str, Any] = {}
    uploads = []
    try:
        async with request.form() as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    data = await value.read()
                    uploads.append(Upload(name, value.filename, value.content_type, data))
                else:
                    _put(fields, name, value)
    except HTTPException as error:
        raise Refusal(f"We could not parse the form in your request: {error.detail}") from error
    return fields, uploads


def _with_sizes(fields: Mapping[str, Any], uploads: Sequence[Upload]) -> dict[str, Any]:
    shown = dict(fields)
    for upload in uploads:
        seen = {
            "filename": upload.filename,
            "content_type": upload.content_type,
            "size": len(upload.data),
        }
        _put(shown, upload.field, seen)
    return shown


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    if name not in fields:
        fields[name] = value
    elif isinstance(fields[name], list):
        fields[name].append(value)
    else:
        fields[name] = [fields[name], value]


def _scripted(rule: Rule) -> Response | None:
    if rule.status is not None:
        return _error(Refusal(rule.message, status=rule.status, code=rule.code), rule.headers)
    if rule.body is not None:
        return Response(rule.body, media_type="application/json")
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
