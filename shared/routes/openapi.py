"""What `/openapi.json` says beyond the routes: authentication, errors, parameters, examples, events.

All of it is made when the document is asked for first, and costs nothing when the app starts.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from shared.routes.errors import STATUSES, ErrorBody, document_errors

Json = dict[str, Any]

SECURITY_SCHEMES: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or an access token of Entra ID where that is on, as "
        "'Authorization: Bearer KEY'.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Api-Key",
        "description": "An API key, as 'X-Api-Key: KEY'.",
    },
}
OPEN_OPERATIONS = frozenset({"health", "mcp_oauth_callback"})
"""Operations that need no key, and name all of their errors themselves."""

OPENAI_TAG = "openai"

GUARDED_STATUSES = (401, 403, 503, 504)
"""What any operation behind the guard can answer."""

OPENAI_STATUSES = (400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504)

PARAMETERS = {
    "client_id": "Id of the connection, as `POST /mcp/connect` returned it.",
    "conversation_id": "Id of the conversation, as `POST /chat` returned it.",
    "code": "The authorization code.",
    "cursor": "The `cursor` of the page before; left out for the first page.",
    "error": "Why the authorization server refused, in the place of a code.",
    "iss": "The authorization server (RFC 9207).",
    "job_id": "Id of the video job, as the tool that ordered the video returned it.",
    "media_id": "Id of the medium, as the tool that made it returned it.",
    "model": "Name of the model; it may hold slashes.",
    "name": "Name of the principal.",
    "state": "The state that the authorization began with.",
    "user_id": "The principal who chats: the caller, or one that the caller may act as.",
}
"""Descriptions of parameters that have none of their own."""

IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Name of this request, 1 to 255 visible ASCII characters such as a UUID. A repeat "
    "with the same key and body returns the first result and is not paid for again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "example": "5f0f2c0e-7f3a-4c1d-9a53-2b8b1f6f3c11",
}


def complete_openapi(api: FastAPI) -> None:
    """Makes the application's OpenAPI document complete, whenever it is asked for."""
    describe = api.openapi

    def describe_completely() -> Json:
        if api.openapi_schema is None:
            api.openapi_schema = _complete(describe())
        return api.openapi_schema

    api.openapi = describe_completely  # type: ignore[method-assign]


def _complete(document: Json) -> Json:
    from shared.routes.chat_events import chat_event_schemas
    from shared.routes.openapi_examples import Examples

    components = document.setdefault("components", {})
    components["securitySchemes"] = SECURITY_SCHEMES
    schemas: Json = components.setdefault("schemas", {})
    # FastAPI's own, which this app never answers with.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas |= {
        ErrorBody.__name__: ErrorBody.model_json_schema(),
        "OpenAIError": OPENAI_ERROR,
        **chat_event_schemas(),
    }
    examples = Examples(schemas)
    for path, operation in _operations(document):
        is_open = operation["operationId"] in OPEN_OPERATIONS
        operation["security"] = [] if is_open else [{name: []} for name in SECURITY_SCHEMES]
        if OPENAI_TAG in operation.get("tags", ()):
            _describe_openai_errors(operation)
        else:
            _describe_errors(path, operation, is_open)
        _describe_parameters(operation)
        examples.add(operation)
    return document


def _operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            yield path, operation


def _describe_errors(path: str, operation: Json, is_open: bool) -> None:
    responses: Json = operation["responses"]
    # FastAPI documents it for every operation with a parameter, also where any text is right.
    responses.pop("422", None)
    statuses = {500} if is_open else {500, *GUARDED_STATUSES}
    if "408" in responses:
        # What is slow there is the caller's server.
        statuses.discard(504)
    if _takes_json(operation):
        statuses.add(400)
    if "requestBody" in operation:
        statuses |= {408, 413}
    if "requestBody" in operation or _has_typed_query(operation):
        statuses.add(422)
    if "{" in path:
        statuses.add(404)
    for status, response in document_errors(*sorted(statuses)).items():
        responses.setdefault(str(status), response)
    operation["responses"] = dict(sorted(responses.items()))
    if operation.pop("x-idempotency-key", False):
        operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)


def _describe_openai_errors(operation: Json) -> None:
    responses: Json = operation["responses"]
    responses.pop("422", None)
    schema = {"$ref": "#/components/schemas/OpenAIError"}
    for status in OPENAI_STATUSES:
        description = STATUSES[status]
        content = {"application/json": {"schema": schema}}
        responses[str(status)] = {"description": description, "content": content}


def _describe_parameters(operation: Json) -> None:
    for parameter in operation.get("parameters", ()):
        parameter.setdefault("description", PARAMETERS.get(parameter["name"], ""))


def _takes_json(operation: Json) -> bool:
    return "application/json" in operation.get("requestBody", {}).get("content", {})


def _has_typed_query(operation: Json) -> bool:
    """Returns whether a parameter of the query can be wrong."""
    return any(
        parameter["in"] == "query"
        and (parameter.get("required") or parameter["schema"] != {"type": "string"})
        for parameter in operation.get("parameters", ())
    )


OPENAI_ERROR: Json = {
    "title": "OpenAIError",
    "description": "Body of every error under `/v1`, in the format of OpenAI's API.",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "A sentence that says what to do."},
                "type": {"type": "string", "description": "OpenAI's class of the error."},
                "param": {
                    "anyOf": [{"type": "string"}, {"type": "null"}],
                    "description": "The field that is wrong.",
                },
                "code": {
                    "anyOf": [{"type": "string"}, {"type": "null"}],
                    "description": "What happened, for programs.",
                },
            },
        }
    },
}
