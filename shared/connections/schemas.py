"""Schemas of servers: data that is cleaned and measured, and never compiled."""

import json
from typing import Any

from shared.connections.text import clean_data, excess, is_clean

JsonObject = dict[str, Any]

MAX_SCHEMA_BYTES = 16 * 1024
MAX_SCHEMA_DEPTH = 40
MAX_EXPANDED_VALUES = 20_000
"""Maximum values of a schema whose references are resolved."""


class _UnfitError(Exception):
    """Raised when a schema cannot be passed on; its text ends the sentence "its schema ..."."""


def any_object() -> JsonObject:
    """Returns the schema of all objects, in the form that every provider takes."""
    return {"type": "object", "properties": {}}


def plain_schema(schema: Any) -> tuple[JsonObject | None, str]:
    """Returns a cleaned schema of objects, or None and what is wrong with it.

    Args:
        schema: What a server gave.
    """
    try:
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise _UnfitError("is not a JSON Schema of type object")
        if fault := excess(schema, MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH):
            raise _UnfitError(fault)
        _check_names(schema)
        cleaned: JsonObject = clean_data(schema)
        if len(json.dumps(cleaned, ensure_ascii=False).encode()) > MAX_SCHEMA_BYTES:
            raise _UnfitError(f"is larger than {MAX_SCHEMA_BYTES} bytes")
        _expanded_size(cleaned, cleaned, {}, 0)
    except _UnfitError as error:
        return None, str(error)
    return cleaned, ""


def _check_names(value: Any) -> None:
    """Makes sure that cleaning does not rename anything: the server would not know it any more."""
    if isinstance(value, list):
        for each in value:
            _check_names(each)
    elif isinstance(value, dict):
        if not all(map(is_clean, value)):
            raise _UnfitError("has a name with invisible characters")
        for each in value.values():
            _check_names(each)


def _expanded_size(value: Any, root: JsonObject, known: dict[str, int | None], depth: int) -> int:
    """Returns how many values a schema has with every reference put in its place."""
    if depth > 4 * MAX_SCHEMA_DEPTH:
        raise _UnfitError("is recursive or nested too deeply")
    size = 1
    if isinstance(value, list):
        size += sum(_expanded_size(each, root, known, depth + 1) for each in value)
    elif isinstance(value, dict):
        size += sum(_expanded_size(each, root, known, depth + 1) for each in value.values())
        for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(reference := value.get(keyword), str):
                size += _referred_size(reference, root, known, depth)
    if size > MAX_EXPANDED_VALUES:
        raise _UnfitError("becomes too large by its references")
    return size


def _referred_size(
    reference: str, root: JsonObject, known: dict[str, int | None], depth: int
) -> int:
    if reference not in known:
        known[reference] = None
        known[reference] = _expanded_size(_find(reference, root), root, known, depth + 1)
    size = known[reference]
    if size is None:
        raise _UnfitError("refers to itself")
    return size


def _find(reference: str, root: JsonObject) -> Any:
    """Returns what a reference within the schema points to (RFC 6901)."""
    found: Any = root
    if not reference.startswith("#/"):
        raise _UnfitError("refers to itself" if reference == "#" else "refers to something else")
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isascii() and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            raise _UnfitError("refers to something that it does not have")
    return found
