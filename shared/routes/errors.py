"""What errors look like on the wire, and which ones a route documents."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from shared.errors import (
    BUG,
    Failure,
    ForwardedError,
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    failure_of,
    plain_complaints,
)
from shared.routes.openai_errors import (
    forwarded_body,
    openai_body,
    openai_headers,
    openai_status,
    speaks_openai,
)
from shared.routes.protected_resource import ProtectedResource, challenge_of
from shared.routes.routing import allowed_methods
from shared.telemetry import current_record


class ErrorBody(BaseModel):
    """Body of every answer that is an error.

    Attributes:
        detail: A sentence that says what to do.
        code: What happened, for programs.
        request_id: The id to look for in the log.
        errors: The fields that are wrong, each with its place (``loc``), what is wrong (``msg``) and the
            kind of mistake (``type``); absent where no field is.
    """

    detail: str
    code: str
    request_id: str
    errors: list[dict[str, Any]] | None = None


STATUSES: Mapping[int, str] = {
    400: "Malformed JSON, or the provider or its content filter rejected the request.",
    401: "No valid API key.",
    403: "The key lacks a scope.",
    404: "Unknown id, or the id of another principal.",
    408: "The body stopped coming, or the connected server did not answer in time.",
    409: "The resource is being modified concurrently, or the idempotency key was used for another "
    "request.",
    413: "The body is too large.",
    416: "The range is beyond the end of the file.",
    422: "A field is wrong.",
    429: "The provider limits the rate, or its quota is spent.",
    500: "Internal error.",
    502: "The provider or the connected server failed.",
    503: "A setting is missing, or storage is unavailable.",
    504: "The deadline is over.",
}
"""What each status of an error means, for the documentation."""

PROVIDER_STATUSES = (400, 429, 502)
"""What an operation can answer that asks a provider."""


def document_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the error answers of a route for its documentation.

    What follows from the route itself is added to the document: see `shared.routes.openapi`.
    """
    # By reference: of a model FastAPI makes a validator for each status of each route, a fifth of the
    # time in which the app starts.
    schema = {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}
    content = {"application/json": {"schema": schema}}
    return {status: {"description": STATUSES[status], "content": content} for status in statuses}


Cursor = Annotated[
    str,
    Query(
        max_length=4000,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Where to go on, from the last page.",
    ),
]
"""Without control characters, which storage could not be sent."""


_NO_ROUTE = "There is no route at this path. GET /openapi.json lists the routes."


@contextmanager
def cursor_errors() -> Iterator[None]:
    """Turns the complaint about a cursor into the error of the query's field.

    Raises:
        InvalidRequest: In place of ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise InvalidRequest.for_field("cursor", str(error), "query") from error


def error_response(request: Request, error: GatewayError) -> JSONResponse:
    """Returns the answer for an error, after noting it for the log."""
    body = error_body(request, error)
    challenge = challenge_of(request, error)
    if not speaks_openai(request.scope["path"]):
        return _respond(error.status, body, {**error.headers, **challenge})
    status = error.provider_status if isinstance(error, ForwardedError) else error.status
    return _respond(openai_status(status), body, {**openai_headers(error), **challenge})


def error_body(request: Request, error: GatewayError) -> dict[str, Any]:
    """Returns the body for an error, after noting it for the log."""
    if isinstance(error, ForwardedError):
        current_record().fail(error.failure)
        return forwarded_body(error)
    return _body(request, error.status, error.failure, error.detail, error.errors)


def internal_error_response(request: Request) -> JSONResponse:
    """Returns the answer for a bug: the request id and nothing else."""
    return JSONResponse(internal_error_body(request), status_code=GatewayError.status)


def internal_error_body(request: Request) -> dict[str, Any]:
    """Returns the body for a bug, after noting it for the log."""
    detail = "Internal error. Report the request id to the operator of this service."
    return _body(request, GatewayError.status, BUG, detail)


def install_error_handlers(api: FastAPI, resource: ProtectedResource | None = None) -> None:
    """Makes every error of the application look the same.

    Args:
        api: The application.
        resource: Tells refused callers how to get a token; None where none would help.
    """
    api.state.protected_resource = resource

    async def on_gateway_error(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, GatewayError):
            raise error
        return error_response(request, error)

    async def on_validation_error(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, RequestValidationError):
            raise error
        complaints = [_with_hint(each) for each in plain_complaints(error.errors())]
        return error_response(request, InvalidRequest.for_fields(complaints))

    async def on_http_error(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, HTTPException):
            raise error
        if error.status_code == NotFound.status:
            return error_response(request, NotFound(_NO_ROUTE))
        if error.status_code == MethodNotAllowed.status:
            allowed = allowed_methods(api, request.scope)
            if not allowed:
                return error_response(request, NotFound(_NO_ROUTE))
            return error_response(request, MethodNotAllowed(request.method, allowed))
        failure = failure_of(error.status_code, InvalidRequest.code)
        body = _body(request, error.status_code, failure, error.detail)
        return _respond(error.status_code, body, dict(error.headers or {}))

    api.add_exception_handler(GatewayError, on_gateway_error)
    api.add_exception_handler(RequestValidationError, on_validation_error)
    api.add_exception_handler(HTTPException, on_http_error)


def _with_hint(complaint: dict[str, Any]) -> dict[str, Any]:
    if complaint["loc"] != ("body",):
        return complaint
    # The usual reason is a header that is not there.
    hint = "Send a JSON object, with the header 'Content-Type: application/json'"
    return {**complaint, "msg": hint}


def _respond(status: int, body: dict[str, Any], headers: dict[str, str]) -> JSONResponse:
    return JSONResponse(jsonable_encoder(body), status_code=status, headers=headers)


def _body(
    request: Request,
    status: int,
    failure: Failure,
    detail: str,
    errors: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    current_record().fail(failure)
    if speaks_openai(request.scope["path"]):
        return openai_body(openai_status(status), failure.code or "", detail, errors)
    body = {"detail": detail, "code": failure.code, "request_id": request.state.request_id}
    return {**body, "errors": list(errors)} if errors else body
