"""How the stand-in, which understands nothing, picks tools and fills in their arguments.

It calls the tools that a message names, as in "server_time" or "the server time", and knows the few
plain words of `PHRASES`. Everything else is for a script.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

Function = Mapping[str, Any]
"""A ``function`` object that a request offers."""

PHRASES = (
    (r"\b(?:draw|paint)\b", "generate_image"),
    (r"\b(?:say|read aloud)\b", "synthesize_speech"),
    (r"\b(?:film|make a video)\b", "generate_video"),
    (r"\badd (?P<text>.+?) to (?:my|the) list\b", "add_task"),
    (r"\bshow (?:me )?(?:my|the) list\b", "list_tasks"),
)
"""Plain words for our own tools; a group named ``text`` is what the tool is told."""

_QUOTED = re.compile(r"(?<!\w)[\"'\u201c]([^\"'\u201d]+)[\"'\u201d](?!\w)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_ID = re.compile(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{8,}\b")


def choose_tools(message: str, functions: Sequence[Function]) -> list[tuple[Function, str]]:
    """Returns the functions that a message asks for, each with the text for its arguments."""
    quoted = _QUOTED.search(message)
    about = quoted.group(1) if quoted else message
    full = [function for function in functions if _names(message, function["name"])]
    # A connection's tool is also called by its own name: "search_docs" for "docs__search_docs".
    own = [f for f in functions if _names(message, f["name"].rpartition("__")[2])]
    if named := full or own:
        return [(function, about) for function in named]
    chosen = []
    offered = {function["name"]: function for function in functions}
    for pattern, name in PHRASES:
        if name in offered and (found := re.search(pattern, message, re.IGNORECASE)):
            chosen.append((offered[name], found.groupdict().get("text") or about))
    return chosen


def fill_arguments(text: str, function: Function) -> dict[str, Any]:
    """Returns arguments for a function: the required ones, and a prompt where it takes one.

    Args:
        text: What strings are filled with; ids are looked for in it.
        function: The function.
    """
    parameters = function.get("parameters") or {}
    properties = parameters.get("properties", {})
    names = list(parameters.get("required", []))
    if not names and "prompt" in properties:
        names = ["prompt"]
    found = _ID.search(text)
    identifier = found.group() if found else text
    return {
        name: example(properties.get(name, {}), identifier if name.endswith("_id") else text)
        for name in names
    }


def example(schema: Mapping[str, Any], text: str) -> Any:
    """Returns a value that fits a JSON Schema, with ``text`` wherever a string is wanted."""
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    if schema.get("enum"):
        return schema["enum"][0]
    for keyword in ("anyOf", "oneOf", "allOf"):
        if schema.get(keyword):
            return example(schema[keyword][0], text)
    kind = schema.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        names = schema.get("required", list(schema.get("properties", {})))
        return {name: example(schema["properties"].get(name, {}), text) for name in names}
    if kind == "array":
        return [example(schema.get("items", {}), text)]
    if kind in ("integer", "number"):
        found = _NUMBER.search(text)
        number = float(found.group()) if found else float(schema.get("minimum", 1))
        return int(number) if kind == "integer" else number
    return {"boolean": True, "null": None}.get(kind, text)


def _names(message: str, name: str) -> bool:
    words = re.escape(name).replace("_", "[_ ]")
    return bool(re.search(rf"(?<![A-Za-z0-9_]){words}(?![A-Za-z0-9_])", message, re.IGNORECASE))
