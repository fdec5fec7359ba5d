"""The OpenAPI document: complete for every operation, and true."""

import json
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from shared.app import create_app
from shared.routes.chat_events import events
from shared.routes.openapi import OPEN_OPERATIONS
from shared.settings import load_settings

Json = dict[str, Any]

ERROR = {"$ref": "#/components/schemas/ErrorBody"}
OPENAI_ERROR = {"$ref": "#/components/schemas/OpenAIError"}


@pytest.fixture
def document(environment: dict[str, str]) -> Json:
    return create_app(load_settings(environment)).openapi()


def operations(document: Json) -> dict[str, Json]:
    """Returns the operations by id."""
    found = {
        operation["operationId"]: operation
        for path in document["paths"].values()
        for operation in path.values()
    }
    assert len(found) > 40
    return found


def is_openai(operation: Json) -> bool:
    return "openai" in operation["tags"]


def test_every_operation_has_a_written_summary_and_description(document: Json) -> None:
    lacking = [
        name
        for name, operation in operations(document).items()
        if operation["summary"] in ("", name.replace("_", " ").title())
        or not operation.get("description", "").endswith((".", "`", ":"))
    ]
    assert lacking == []


def test_every_parameter_is_described(document: Json) -> None:
    lacking = [
        (name, parameter["name"])
        for name, operation in operations(document).items()
        for parameter in operation.get("parameters", ())
        if not parameter["description"]
    ]
    assert lacking == []


def test_every_operation_has_an_example(document: Json) -> None:
    lacking = []
    for name, operation in operations(document).items():
        bodies = [
            body
            for body in operation.get("requestBody", {}).get("content", {}).values()
            if body["schema"].get("format") != "binary"
        ]
        required = [each for each in operation.get("parameters", ()) if each["required"]]
        answers = [
            response["content"]["application/json"]
            for status, response in operation["responses"].items()
            if status.startswith("2")
            and response.get("content", {}).get("application/json", {}).get("schema")
        ]
        if not all("example" in each for each in (*bodies, *required, *answers)):
            lacking.append(name)
    assert lacking == []


def test_examples_are_what_their_schemas_allow(document: Json) -> None:
    wrong = []
    for name, operation in operations(document).items():
        contents = [
            ("request", operation.get("requestBody", {})),
            *operation["responses"].items(),
        ]
        for where, holder in contents:
            for content in holder.get("content", {}).values():
                if "example" in content:
                    schema = {**content["schema"], "components": document["components"]}
                    errors = Draft202012Validator(schema).iter_errors(content["example"])
                    wrong += [(name, where, error.json_path, error.message) for error in errors]
    assert wrong == []


def test_every_reference_leads_somewhere(document: Json) -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, list):
            return [found for each in value for found in references(each)]
        if not isinstance(value, dict):
            return []
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for each in value.values() for found in references(each)]

    schemas = document["components"]["schemas"]
    assert [each for each in references(document) if each.rpartition("/")[2] not in schemas] == []


def test_every_error_has_the_shape_that_is_answered(document: Json) -> None:
    for name, operation in operations(document).items():
        expected = OPENAI_ERROR if is_openai(operation) else ERROR
        for status, response in operation["responses"].items():
            # The callback shows a page to a browser, and health describes an unhealthy app.
            if status < "400" or (name, status) in (
                ("health", "503"),
                ("mcp_oauth_callback", "400"),
                ("mcp_oauth_callback", "404"),
            ):
                continue
            content = response["content"]["application/json"]
            assert content["schema"] == expected, (name, status)


def test_operations_document_the_statuses_that_they_can_answer(document: Json) -> None:
    found = {
        name: " ".join(status for status in operation["responses"] if status >= "400")
        for name, operation in operations(document).items()
    }
    assert {name: found[name] for name in EXPECTED_STATUSES} == EXPECTED_STATUSES
    assert found["tools_list"] == "401 403 404 422 500 503 504"
    for name, operation in operations(document).items():
        if name not in OPEN_OPERATIONS:
            assert {"401", "403", "500", "503"} <= set(found[name].split()), name
        if "requestBody" not in operation:
            assert "413" not in found[name].split() or is_openai(operation), name


EXPECTED_STATUSES = {
    "health": "401 422 500 503",
    "server_time": "401 403 500 503 504",
    "tool_server_time": "400 401 403 408 413 422 500 503 504",
    "tool_add_task": "400 401 403 408 409 413 422 500 503 504",
    "tool_complete_task": "400 401 403 404 408 409 413 422 500 503 504",
    "tool_generate_image": "400 401 403 408 409 413 422 429 500 502 503 504",
    "chat": "400 401 403 404 408 409 413 422 429 500 502 503 504",
    "conversations_list": "401 403 422 500 503 504",
    "conversation_delete": "401 403 404 409 500 503 504",
    "media_create": "401 403 408 413 422 500 503 504",
    "mcp_call_tool": "400 401 403 404 408 409 413 422 500 502 503",
}


def test_a_key_is_documented_where_it_is_needed(document: Json) -> None:
    schemes = document["components"]["securitySchemes"]
    assert [(name, each["type"]) for name, each in schemes.items()] == [
        ("bearer", "http"),
        ("apiKey", "apiKey"),
    ]
    for name, operation in operations(document).items():
        schemes_of = [next(iter(each)) for each in operation["security"]]
        assert schemes_of == ([] if name in OPEN_OPERATIONS else ["bearer", "apiKey"]), name


def test_idempotency_key_is_documented_where_it_is_honoured(document: Json) -> None:
    found = {
        name
        for name, operation in operations(document).items()
        if any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", ()))
    }
    assert {"chat", "user_chat", "tool_generate_image", "tool_add_task"} <= found
    assert found.isdisjoint({"tool_list_tasks", "media_list", "health"})


async def test_events_of_a_chat_are_as_they_are_described(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/chat", json={"message": "server_time", "stream": True})
    sent = [
        json.loads(line.removeprefix("data: "))
        for line in answer.text.splitlines()
        if line.startswith("data: ")
    ]
    for event in sent:
        events.validate_python(event)
    kinds = {event["type"] for event in sent}
    assert {"chat.created", "chat.tool_call", "chat.tool_result", "chat.completed"} <= kinds


async def test_error_event_of_a_chat_is_as_it_is_described(
    environment: dict[str, str], document: Json
) -> None:
    content = operations(document)["chat"]["responses"]["200"]["content"]
    assert content["text/event-stream"]["schema"] == {"$ref": "#/components/schemas/ChatEvent"}
    union = document["components"]["schemas"]["ChatEvent"]
    assert set(union["discriminator"]["mapping"]) == {
        "chat.created",
        "chat.delta",
        "chat.tool_call",
        "chat.tool_progress",
        "chat.tool_result",
        "chat.completed",
        "chat.error",
    }
    events.validate_python(
        {"type": "chat.error", "detail": "No.", "code": "rate_limited", "request_id": "a"}
    )


def test_document_is_the_same_each_time(environment: dict[str, str]) -> None:
    app: FastAPI = create_app(load_settings(environment))
    assert app.openapi() is app.openapi()
