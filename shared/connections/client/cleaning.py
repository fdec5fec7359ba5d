"""Cleans texts and schemas of servers: what is unfit is taken out, or the schema refused.

Characters that nobody sees, or that turn the direction of what stands beside them, can hold instructions
which a person who reads a tool's description never finds. They are taken out:

- control characters but tabs and line breaks, and all other ways to break a line become line breaks;
- marks and overrides of direction, zero-width characters, invisible operators, tags (U+E0000 to E007F);
- variation selectors but single U+FE0E and U+FE0F, by which emoji are chosen: rows of the others can
  spell any text.

A zero-width joiner or non-joiner stays where it stands alone between letters or emoji, which need it in
Persian, in Indic scripts and in families of emoji.
"""

import asyncio
import json
import re
from math import isfinite
from typing import Any

JsonObject = dict[str, Any]

MAX_SCHEMA_BYTES = 16 * 1024
MAX_SCHEMA_DEPTH = 40
MAX_EXPANDED_VALUES = 20_000
"""Maximum values of a schema whose references are resolved."""

SLICE_CHARS = 16 * 1024
CUT_MARK = "…"

_HIDDEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_SELECTORS = ("\ufe0e", "\ufe0f")
_JOINERS = ("\u200c", "\u200d", "\ufe0f\u200d")
_LINE_BREAK = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_ASCII = {code: None for code in (*range(9), *range(0x0E, 0x20), 0x7F)}


def clean(text: str, limit: int | None = None) -> str:
    """Returns a text without hidden characters.

    Args:
        text: What a server says.
        limit: Most characters, of which the last is then a mark of what is cut; None for all.
    """
    if limit is not None:
        # Of much that is hidden little may be left; nobody needs to find out how little.
        text = text[: 4 * limit]
    if text.isascii():
        cleaned = _LINE_BREAK.sub("\n", text).translate(_ASCII)
    else:
        cleaned = _HIDDEN.sub(_visible, _LINE_BREAK.sub("\n", text))
    if limit is not None and len(cleaned) > limit:
        return cleaned[: limit - 1] + CUT_MARK
    return cleaned


def _visible(run: re.Match[str]) -> str:
    """Returns what stays of a row of hidden characters."""
    hidden, text = run.group(), run.string
    if hidden in _SELECTORS:
        return hidden
    before, after = text[run.start() - 1 : run.start()], text[run.end() : run.end() + 1]
    return hidden if hidden in _JOINERS and _is_joined(before) and _is_joined(after) else ""


def _is_joined(character: str) -> bool:
    """Whether a character is of a script whose letters are joined or kept apart, or an emoji."""
    return character > "\u05ff" and not "\u2000" <= character <= "\u206f"


async def clean_long(text: str) -> str:
    """Returns a text without hidden characters, and lets others work meanwhile."""
    if len(text) <= SLICE_CHARS:
        return clean(text)
    pieces = []
    start = 0
    while start < len(text):
        end = start + SLICE_CHARS
        # Not between characters that are judged by their neighbours, unless there is no end of them.
        while end < min(len(text), start + 2 * SLICE_CHARS) and not text[end].isalnum():
            end += 1
        pieces.append(clean(text[start:end]))
        start = end
        await asyncio.sleep(0)
    return "".join(pieces)


def is_clean(text: str) -> bool:
    """Whether nothing in a text is hidden."""
    return clean(text) == text


def clean_data(value: Any) -> Any:
    """Returns small data of any form without hidden characters, and without numbers that JSON lacks."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, list):
        return [clean_data(each) for each in value]
    if isinstance(value, dict):
        return {clean(name): clean_data(each) for name, each in value.items()}
    return value


def excess(value: Any, max_size: int, max_depth: int) -> str | None:
    """Returns in what data goes too far, None where it does not; takes no longer for more of it.

    Args:
        value: Data of any form.
        max_size: Most characters and values, together about the bytes of its JSON at least.
        max_depth: How deep it may be nested.
    """
    size = 0
    left: list[tuple[Any, int]] = [(value, 0)]
    while left:
        inner, depth = left.pop()
        size += 1
        if isinstance(inner, str):
            size += len(inner)
        elif isinstance(inner, list):
            size += len(inner)
            left += [(each, depth + 1) for each in inner[:max_size]]
        elif isinstance(inner, dict):
            size += len(inner)
            left += [(each, depth + 1) for pair in inner.items() for each in pair]
        if size > max_size:
            return f"is larger than {max_size} bytes"
        if depth > max_depth:
            return f"is nested more than {max_depth} deep"
    return None


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
