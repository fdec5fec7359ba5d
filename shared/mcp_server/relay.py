"""Results of connections' tools for an MCP client: their parts as the server gave them, cut to size."""

import json
from collections.abc import Iterable
from typing import Any

import mcp_types as types

from shared.errors import TooLarge
from shared.mcp_server.content import of_kinds
from shared.tools import JsonObject, ToolResult

CONNECTION_SCHEME = "connection://"
MAX_RELAYED_CHARS = 900_000
"""Maximum characters of a result's parts together: clients refuse results of more than 1 MB."""

MAX_STRUCTURED_CHARS = 400_000


def relayed(result: ToolResult, kinds: frozenset[str]) -> types.CallToolResult:
    """Returns a result of a connection's tool; it names resources as they are read here.

    Args:
        result: The result.
        kinds: The kinds of content that the client takes; parts of others become text.
    """
    structured = result.structured
    size = 0 if structured is None else _size(structured, MAX_STRUCTURED_CHARS)
    if size > MAX_STRUCTURED_CHARS:
        text = (
            f"The result has more than the {MAX_STRUCTURED_CHARS} characters that are passed on. "
            "Ask for less."
        )
        return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)
    parts = [named_here(part, result.connection) for part in result.content or ()]
    return types.CallToolResult.model_validate(
        {
            "content": _cut(of_kinds(parts, kinds), MAX_RELAYED_CHARS - size),
            "structuredContent": structured,
            "isError": result.is_error,
        }
    )


def relayed_resource(prefix: str, answer: JsonObject) -> types.ReadResourceResult:
    """Returns what a connection's server answered for a resource, by the names of here.

    Raises:
        TooLarge: It has more characters than clients take.
    """
    contents = answer.get("contents") or []
    check_size(contents, "resource", " Ask for a smaller one.")
    named = [{**each, "uri": resource_uri(prefix, each["uri"])} for each in contents]
    return types.ReadResourceResult.model_validate({"contents": named})


def check_size(parts: object, noun: str, advice: str = "") -> None:
    """Checks what is about to be passed on.

    Args:
        parts: The JSON of it.
        noun: What it is, for the error.
        advice: What callers can do about it, for the error.

    Raises:
        TooLarge: It has more characters than clients take.
    """
    if _size(parts, MAX_RELAYED_CHARS) > MAX_RELAYED_CHARS:
        raise TooLarge(
            f"The {noun} has more than the {MAX_RELAYED_CHARS} characters that are passed on.{advice}"
        )


def resource_uri(prefix: str, uri: str) -> str:
    """Returns the name that a connection's resource has here."""
    return f"{CONNECTION_SCHEME}{prefix}/{uri}"


def _cut(parts: Iterable[JsonObject], room: int) -> list[JsonObject]:
    kept: list[JsonObject] = []
    for part in parts:
        size = _size(part, room)
        if size <= room:
            kept.append(part)
            room -= size
            continue
        if part["type"] == "text" and room > 0:
            text = (
                f"{part['text'][: room // 2]}\n[cut: the text has {len(part['text'])} characters]"
            )
            kept.append({"type": "text", "text": text})
        else:
            kept.append(
                {"type": "text", "text": f"[left out: {part['type']} of {size} characters]"}
            )
        room = 0
    return kept


def _size(value: Any, most: int) -> int:
    """Returns how many characters some JSON has; where its texts have more than `most`, only theirs.

    Megabytes are not written just to be counted: others wait meanwhile.
    """
    size, left = 0, [value]
    while left:
        inner = left.pop()
        if isinstance(inner, str):
            size += len(inner)
        elif isinstance(inner, list | dict):
            left.extend(inner if isinstance(inner, list) else inner.values())
    return size if size > most else len(json.dumps(value, ensure_ascii=False))


def named_here(part: JsonObject, prefix: str | None) -> JsonObject:
    """Returns a part of a result with the name that its resource has here."""
    if prefix is None:
        return part
    if part["type"] == "resource_link":
        return {**part, "uri": resource_uri(prefix, part["uri"])}
    if part["type"] == "resource":
        resource: dict[str, Any] = part["resource"]
        return {**part, "resource": {**resource, "uri": resource_uri(prefix, resource["uri"])}}
    return part
