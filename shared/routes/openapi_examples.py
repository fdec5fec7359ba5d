"""Examples for the OpenAPI document, made from its schemas and from usual values of fields, by name."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

MAX_DEPTH = 6
"""Schemas that name themselves end there."""

VALUES: Mapping[str, Any] = {
    "answer": "It is two o'clock.",
    "build": "20261129.1",
    "client_id": "6f1b3d1e-5c0a-4a3a-8a55-0d6f1d9a2c47",
    "code": "K7P2-9QXM",
    "completed": False,
    "content_type": "image/png",
    "conversation_id": "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ff",
    "created_at": "2026-11-29T13:57:32Z",
    "description": "Two litres.",
    "expires_at": "2026-11-29T14:57:32Z",
    "finish_reason": "stop",
    "id": "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ff",
    "images": ["c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ff"],
    "job_id": "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ff",
    "limit": 20,
    "mcp_url": "https://mcp.example.com/mcp",
    "media_id": "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ff",
    "message": "What time is it?",
    "model": "gpt-6-luna",
    "name": "weather",
    "prompt": "A lighthouse in the fog, in watercolour",
    "prompt_name": "summarize",
    "response": "It is two o'clock.",
    "task_id": "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ff",
    "text": "The lighthouse is open today.",
    "timestamp": "2026-11-29T13:57:32Z",
    "title": "Buy milk",
    "tool_name": "get_weather",
    "turns": 1,
    "uri": "file:///notes.txt",
    "url": "https://media.example.com/images/2026/11/29/c0ffee00.png",
    "user_id": "alice",
    "version": "1.0.0",
}
"""Values of fields, by name."""

ALWAYS_SHOWN = frozenset({"mcp_url", "prompt", "title"})
"""Optional fields that a request makes sense with only."""

OPENAI_REQUESTS: Mapping[str, Json] = {
    "openai_chat_completions": {
        "model": "gpt-6-luna",
        "messages": [{"role": "user", "content": "What time is it?"}],
    },
    "openai_responses": {"model": "gpt-6-luna", "input": "What time is it?"},
    "openai_embeddings": {"model": "text-embedding-3-small", "input": "A lighthouse"},
    "openai_moderations": {"input": "A lighthouse"},
    "openai_images_generations": {"prompt": "A lighthouse in the fog", "response_format": "url"},
    "openai_images_edits": {"prompt": "Make it night", "image[]": ["lighthouse.png"]},
    "openai_audio_speech": {
        "model": "gpt-4o-mini-tts",
        "input": "The lighthouse is open today.",
        "voice": "alloy",
    },
    "openai_audio_transcriptions": {"model": "gpt-transcribe", "file": "clip.mp3"},
}
"""Bodies under `/v1`, which have no schema here: they go on as they come."""

_BY_TYPE: Mapping[str, Any] = {
    "string": "text",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}


def _fits(value: Any, schema: Json) -> bool:
    """Returns whether a value is of a schema's type: a number of images is named as their list."""
    kind = schema.get("type")
    return kind is None or isinstance(value, list) == (kind == "array")


class Examples:
    """Adds an example to each body, required parameter and successful JSON answer of operations.

    Args:
        schemas: The document's component schemas.
    """

    def __init__(self, schemas: Json) -> None:
        self._schemas = schemas

    def add(self, operation: Json) -> None:
        """Adds the examples of one operation."""
        for parameter in operation.get("parameters", ()):
            if parameter["required"]:
                parameter.setdefault("example", VALUES.get(parameter["name"], "text"))
        request = OPENAI_REQUESTS.get(operation["operationId"])
        for content in operation.get("requestBody", {}).get("content", {}).values():
            if content["schema"].get("format") != "binary":
                content.setdefault("example", request or self._make(content["schema"], False))
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get("application/json")
            if status.startswith("2") and content and content.get("schema"):
                content.setdefault("example", self._make(content["schema"], True))

    def _make(self, schema: Json, is_complete: bool, name: str = "", depth: int = 0) -> Any:
        """Returns an example; a complete one has the optional fields too."""
        schema = self._resolve(schema)
        for key in ("example", "const", "default"):
            if schema.get(key) is not None:
                return schema[key]
        if name in VALUES and not schema.get("enum") and _fits(VALUES[name], schema):
            return VALUES[name]
        if schema.get("enum"):
            return schema["enum"][0]
        kind = schema.get("type")
        if kind == "array":
            item = schema.get("items", {})
            return [] if depth >= MAX_DEPTH else [self._make(item, is_complete, "", depth + 1)]
        if kind == "object" or "properties" in schema:
            return {} if depth >= MAX_DEPTH else self._make_object(schema, is_complete, depth)
        return _BY_TYPE.get(str(kind), "text")

    def _make_object(self, schema: Json, is_complete: bool, depth: int) -> Json:
        required = {*schema.get("required", ()), *ALWAYS_SHOWN}
        return {
            name: self._make(field, is_complete, name, depth + 1)
            for name, field in schema.get("properties", {}).items()
            if is_complete or name in required
        }

    def _resolve(self, schema: Json) -> Json:
        while True:
            if "$ref" in schema:
                schema = self._schemas[schema["$ref"].rpartition("/")[2]]
            elif found := schema.get("anyOf") or schema.get("oneOf"):
                schema = found[0]
            else:
                return schema
