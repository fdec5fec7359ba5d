"""How the stand-in, which understands nothing, picks a tool and fills in its arguments."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_WORD = re.compile(r"[a-z0-9]+")
_QUOTED = re.compile(r"[\"'\u201c]([^\"'\u201d]+)[\"'\u201d]")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")

_FILLER_WORDS = """
a an and are as at be by can current do does for from give how i in is it its me my now of on or please
server tell that the then there these this to use using was what when where which who will with
would you your
"""
_FILLER = frozenset(_FILLER_WORDS.split())
"""Words that say nothing about which tool is meant."""

_NEXT_STEP = re.compile(r"[,;.]?\s*\b(?:and then|then)\b\s*", re.IGNORECASE)
_LIST_ENTRY = re.compile(r"^(?:please )?add (.+?) (?:to|on) (?:my|the|our)\b", re.IGNORECASE)

_ENOUGH = 0.6


def split_steps(message: str) -> list[str]:
    """Returns what a message wants done one after the other: its parts around the word ``then``.

    In a later part ``it`` stands for the last word of the part before.
    """
    steps: list[str] = []
    for part in filter(None, _NEXT_STEP.split(message)):
        words = _WORD.findall(steps[-1].lower()) if steps else []
        steps.append(re.sub(r"\b(it|them)\b", words[-1], part) if words else part)
    return steps or [message]


def choose_tools(message: str, functions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the functions that a message names, or else the one that it describes, if any.

    Args:
        message: What the user says.
        functions: The ``function`` objects that the request offers.
    """
    lowered = message.lower()
    named = [
        function
        for function in functions
        if re.search(rf"\b{re.escape(function['name'].lower())}\b", lowered)
    ]
    if named:
        return named
    scored = [(_score(message, function), function) for function in functions]
    best, function = max(scored, key=lambda pair: pair[0], default=(0.0, {}))
    return [function] if best >= _ENOUGH else []


def fill_arguments(message: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments for a function: the required ones, and a choice that the message words.

    Args:
        message: What the user says.
        parameters: JSON Schema of the arguments.
    """
    required = parameters.get("required", [])
    properties = parameters.get("properties", {})
    filled: dict[str, Any] = {}
    for name, schema in properties.items():
        worded = _worded_choice(message, schema)
        if name == "title" and (entry := _LIST_ENTRY.match(message)):
            filled[name] = entry.group(1)
        elif name in required:
            filled[name] = worded if worded is not None else example(schema, _text(message))
        elif worded is not None:
            filled[name] = worded
    if not required and "prompt" in properties:
        filled["prompt"] = _text(message)
    return filled


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


def _score(message: str, function: Mapping[str, Any]) -> float:
    # The whole name in other words, as in "what time does the server have", is as good as the name.
    said = set(_stems(message))
    name = set(_stems(function["name"].replace("_", " ")))
    wanted = said - _FILLER
    described = set(_stems(function.get("description", "").split(".")[0])) - _FILLER
    if name and name <= said:
        return 2.0
    if not wanted or not (wanted & (name | described)):
        return 0.0
    return len(wanted & (name | described)) / len(wanted)


def _stems(text: str) -> Iterator[str]:
    for word in _WORD.findall(text.lower()):
        yield (
            word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
        )


def _worded_choice(message: str, schema: Mapping[str, Any]) -> Any:
    options = [schema, *schema.get("anyOf", [])]
    choices = [choice for option in options for choice in option.get("enum", [])]
    said = set(_WORD.findall(message.lower()))
    return next((choice for choice in choices if str(choice).lower() in said), None)


def _text(message: str) -> str:
    quoted = _QUOTED.search(message)
    return quoted.group(1) if quoted else message
