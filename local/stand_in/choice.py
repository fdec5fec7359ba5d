"""How the stand-in, which understands nothing, picks a tool and fills in its arguments."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r"[a-z0-9]+")
_QUOTED = re.compile(r"(?<!\w)[\"'\u201c]([^\"'\u201d]+)[\"'\u201d](?!\w)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_THEN = re.compile(r"\b(?:and )?then\b", re.IGNORECASE)
_ID = re.compile(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{8,}\b")

_FILLER_WORDS = """
a an and are as at be by can current do does for from give how i in is it its me my now of on or please
server show tell that the then there these this to use using was what when where which who will with
would you your
"""
_FILLER = frozenset(_FILLER_WORDS.split())
"""Words that say nothing about which tool is meant."""

_ENOUGH = 0.6

_PRONOUNS = frozenset({"it", "them"})
_SHOWING = frozenset({"show", "what", "which"})
"""Words that ask for a list without saying so."""

SHORT_TEXT_CHARS = 200
"""A string that may not be longer gets what a message is about, not the message."""


@dataclass(frozen=True)
class Step:
    """What one round of tool calls is to do.

    Attributes:
        message: The part of the message that says so.
        functions: The functions to call.
    """

    message: str
    functions: Sequence[Mapping[str, Any]]


def plan(message: str, functions: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Returns the steps of a message that asks for one thing, then another; else one step or none.

    "It" in a later step is what the function of the step before is named after: after ``add_task``,
    "then show it" asks for a list of tasks.

    Args:
        message: What the user says.
        functions: The ``function`` objects that the request offers.
    """
    steps: list[Step] = []
    for part in _split(message):
        noun = _noun(steps[-1].functions[0]) if steps else ""
        meant = " ".join(noun if noun and word in _PRONOUNS else word for word in part.split())
        if chosen := choose_tools(meant, functions):
            steps.append(Step(part, chosen))
    if len(steps) < 2:
        chosen = choose_tools(message, functions)
        return [Step(message, chosen)] if chosen else []
    return steps


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
    if named and not _is_part_of_another(named, message, functions):
        return named
    scored = [(_score(message, function), function) for function in functions]
    (best, *_), function = max(scored, key=lambda pair: pair[0], default=((0.0, 0, 0), {}))
    return [function] if best >= _ENOUGH else []


def fill_arguments(
    message: str, function: Mapping[str, Any], results: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns arguments for a function: the required ones, and a choice that the message words.

    Args:
        message: What the user says.
        function: The ``function`` object that the request offers.
        results: What functions returned so far; ids that the message does not have come from there.
    """
    parameters = function.get("parameters") or {}
    required = parameters.get("required", [])
    properties = parameters.get("properties", {})
    filled: dict[str, Any] = {}
    for name, schema in properties.items():
        worded = _worded_choice(message, schema)
        if name in required:
            text = _text_for(name, schema, message, function, results)
            filled[name] = worded if worded is not None else example(schema, text)
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


def _split(message: str) -> list[str]:
    """Returns the parts of a message around its "then", apart from what stands in quotes."""
    quotes = [found.span() for found in _QUOTED.finditer(message)]
    parts, start = [], 0
    for found in _THEN.finditer(message):
        if not any(begin < found.start() < end for begin, end in quotes):
            parts.append(message[start : found.start()])
            start = found.end()
    stripped = (part.strip(" ,;.") for part in [*parts, message[start:]])
    return [part for part in stripped if part]


def _noun(function: Mapping[str, Any]) -> str:
    return str(function["name"]).partition("_")[2].replace("_", " ")


def _is_part_of_another(
    named: Sequence[Mapping[str, Any]], message: str, functions: Sequence[Mapping[str, Any]]
) -> bool:
    """Returns whether the one name is a word of another, as in "generate an image"."""
    said = set(_stems(message))
    others = (_name(function) for function in functions if function not in named)
    return len(named) == 1 and any(_name(named[0]) < other <= said for other in others)


def _score(message: str, function: Mapping[str, Any]) -> tuple[float, int, int]:
    """Returns how well a function fits, and for those that fit alike how many words it shares."""
    # The whole name in other words, as in "what time does the server have", is as good as the name.
    said = set(_stems(message))
    said |= {"list"} if said & _SHOWING else set()
    name = _name(function)
    # What is to be added says nothing about what adds it.
    wanted = set(_stems(message)) - set(_stems(_object(message, function) or "")) - _FILLER
    described = set(_stems(function.get("description", "").split(".")[0]))
    fitting = wanted & (name | described - _FILLER)
    score = 2.0 if name and name <= said else len(fitting) / len(wanted) if fitting else 0.0
    return score, len(said & name), len(said & described)


def _name(function: Mapping[str, Any]) -> set[str]:
    return set(_stems(function["name"].replace("_", " ")))


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


def _text_for(
    name: str,
    schema: Mapping[str, Any],
    message: str,
    function: Mapping[str, Any],
    results: Sequence[str],
) -> str:
    if name.endswith("_id"):
        found = _ID.search(message)
        return found.group() if found else _known(name, results) or _text(message)
    if schema.get("maxLength", SHORT_TEXT_CHARS + 1) > SHORT_TEXT_CHARS or _QUOTED.search(message):
        return _text(message)
    return _object(message, function) or message


def _object(message: str, function: Mapping[str, Any]) -> str | None:
    """Returns what a message wants done something with: "add milk to my list", "add a task to run"."""
    verb, _, noun = (re.escape(part) for part in str(function["name"]).partition("_"))
    named = re.search(rf"\b{verb} (?:an? |the )?{noun}:?(?: to)? (.+)", message, re.IGNORECASE)
    about = re.search(rf"\b{verb} (.+?) (?:to|on|in) (?:my|the) ", message, re.IGNORECASE)
    found = (noun and named) or about
    return found.group(1) if found else None


def _known(name: str, results: Sequence[str]) -> str | None:
    for result in reversed(results):
        if found := re.search(rf'"{name}": ?"([^"]+)"', result):
            return found.group(1)
    return None


def _text(message: str) -> str:
    quoted = _QUOTED.search(message)
    return quoted.group(1) if quoted else message
