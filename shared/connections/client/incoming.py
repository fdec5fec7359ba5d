"""Cuts and cleans the results of servers before the MCP SDK validates them and anybody sees them.

Free of the SDK: a result is the JSON object that a server sent. Whatever is left out is noted beside
what stays, in the result's ``_meta``.
"""

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from shared.connections.client.cleaning import (
    any_object,
    clean,
    clean_data,
    clean_long,
    excess,
    is_clean,
    plain_schema,
)

JsonObject = dict[str, Any]

MAX_ITEMS = 1000
"""Maximum entries of a list, or parts of a result; further ones are left out."""

MAX_LIST_BYTES = 1024 * 1024
"""Maximum bytes of a list; further entries are left out."""

MAX_NAME_CHARS = 256
MAX_URI_CHARS = 2048
MAX_TITLE_CHARS = 200
MAX_DESCRIPTION_CHARS = 2000
MAX_EXTRA_BYTES = 4096
"""Maximum bytes of ``_meta``, ``icons`` and unknown fields; longer ones are left out."""

MAX_EXTRA_DEPTH = 20
MAX_OPAQUE_CHARS = 64 * 1024
MAX_NOTES = 100
LEFT_OUT = "openai-mcp-functions/left-out"
CHANGED = "openai-mcp-functions/changed"
IS_CUT = "openai-mcp-functions/is-cut"

_VALUES_BETWEEN_YIELDS = 1000
_SHOWN_NAME_CHARS = 64
_BASE64 = ("data", "blob")
_HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")


async def clean_result(result: JsonObject) -> JsonObject:
    """Returns a result of which every part is short enough, clean, and of the form that it should have.

    Args:
        result: What a server sent.
    """
    cleaner = _Cleaner()
    notes = Notes()
    cleaned: JsonObject = {}
    is_cut = False
    for key, value in list(result.items())[:MAX_ITEMS]:
        if key in _LISTS and isinstance(value, list):
            cleaned[key], is_cut = await _entries(value, _LISTS[key], notes)
        elif key == "inputRequests" and isinstance(value, dict):
            # The first one is refused, and with it all of them.
            cleaned[key] = await cleaner.clean(dict(list(value.items())[:1]))
        elif key in _PARTS and isinstance(value, list):
            cleaned[key] = await cleaner.clean(value[:MAX_ITEMS])
        elif key in _FIELDS:
            cleaned[key] = _FIELDS[key](value)
        else:
            cleaned[key] = await cleaner.clean(value)
    if notes.left_out or notes.changed or is_cut:
        meta = cleaned.get("_meta")
        cleaned["_meta"] = {
            **(meta if isinstance(meta, dict) else {}),
            LEFT_OUT: notes.left_out[:MAX_NOTES],
            CHANGED: notes.changed[:MAX_NOTES],
            IS_CUT: is_cut,
        }
    return {key: value for key, value in cleaned.items() if value is not _NOTHING}


@dataclass
class Notes:
    """What became of entries that could not be taken as they were, a sentence for each.

    Attributes:
        left_out: Entries that are not there.
        changed: Entries that are, in another form.
    """

    left_out: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


class _Cleaner:
    """Cleans data of any form, and lets others work meanwhile."""

    def __init__(self) -> None:
        self._values = 0

    async def clean(self, value: Any, name: str = "") -> Any:
        self._values += 1
        if self._values % _VALUES_BETWEEN_YIELDS == 0:
            await asyncio.sleep(0)
        if isinstance(value, str):
            if name in _BASE64:
                return value if value.isascii() else ""
            return await clean_long(value)
        if isinstance(value, float):
            # JSON has no such numbers, though parsers take them.
            return value if isfinite(value) else None
        if isinstance(value, list):
            return [await self.clean(each) for each in value]
        if isinstance(value, dict):
            return {
                await clean_long(key): await self.clean(each, key) for key, each in value.items()
            }
        return value


async def _entries(
    entries: list[Any], entry: Callable[[JsonObject, Notes], JsonObject | None], notes: Notes
) -> tuple[list[JsonObject], bool]:
    """Returns the entries that are taken, and whether there are more."""
    taken: list[JsonObject] = []
    size = 0
    for one in entries[:MAX_ITEMS]:
        if isinstance(one, dict) and (cleaned := entry(one, notes)) is not None:
            size += len(json.dumps(cleaned, ensure_ascii=False).encode())
            if size > MAX_LIST_BYTES:
                return taken, True
            taken.append(cleaned)
        await asyncio.sleep(0)
    return taken, len(entries) > MAX_ITEMS


def _tool(tool: JsonObject, notes: Notes) -> JsonObject | None:
    name = _key(tool, "name", MAX_NAME_CHARS, "tool", notes)
    if name is None:
        return None
    cleaned = _described(tool, ("name", "inputSchema", "outputSchema", "annotations"))
    schema, fault = plain_schema(tool.get("inputSchema"))
    if schema is None:
        notes.changed.append(
            f"The tool '{_shown(name)}' is offered with any arguments: its schema {fault}."
        )
    cleaned |= {"name": name, "inputSchema": schema or any_object()}
    if "outputSchema" in tool:
        output, _ = plain_schema(tool["outputSchema"])
        cleaned |= {} if output is None else {"outputSchema": output}
    if isinstance(annotations := tool.get("annotations"), dict):
        hints = {key: annotations[key] for key in _HINTS if isinstance(annotations.get(key), bool)}
        cleaned["annotations"] = {**hints, **_texts(annotations, {"title": MAX_TITLE_CHARS})}
    return cleaned


def _resource(resource: JsonObject, notes: Notes) -> JsonObject | None:
    uri = _key(resource, "uri", MAX_URI_CHARS, "resource", notes)
    if uri is None:
        return None
    named = {"name": uri[:MAX_NAME_CHARS], **_texts(resource, {"name": MAX_NAME_CHARS})}
    return {**_described(resource, ("uri", "name")), **named, "uri": uri}


def _template(template: JsonObject, notes: Notes) -> JsonObject | None:
    uri = _key(template, "uriTemplate", MAX_URI_CHARS, "template", notes)
    if uri is None:
        return None
    named = {"name": uri[:MAX_NAME_CHARS], **_texts(template, {"name": MAX_NAME_CHARS})}
    return {**_described(template, ("uriTemplate", "name")), **named, "uriTemplate": uri}


def _prompt(prompt: JsonObject, notes: Notes) -> JsonObject | None:
    name = _key(prompt, "name", MAX_NAME_CHARS, "prompt", notes)
    if name is None:
        return None
    cleaned = _described(prompt, ("name", "arguments"))
    if isinstance(arguments := prompt.get("arguments"), list):
        cleaned["arguments"] = [
            {**_described(each, ("name",)), "name": each["name"]}
            for each in arguments[:100]
            if isinstance(each, dict) and _is_key(each.get("name"), MAX_NAME_CHARS)
        ]
    return {**cleaned, "name": name}


def _key(entry: JsonObject, known_by: str, limit: int, kind: str, notes: Notes) -> str | None:
    """Returns what an entry is known by; None where what is shown of that would not do to ask for it."""
    key = entry.get(known_by)
    if _is_key(key, limit):
        return str(key)
    shown = _shown(key) if isinstance(key, str) and key else "without a name"
    notes.left_out.append(
        f"The {kind} '{shown}' is left out: its {known_by} is missing, or has hidden characters or more "
        f"than {limit}."
    )
    return None


def _is_key(value: Any, limit: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= limit and is_clean(value)


def _shown(name: str) -> str:
    return clean(name, _SHOWN_NAME_CHARS).replace("\n", " ").replace("'", "")


def _described(entry: JsonObject, apart: Iterable[str]) -> JsonObject:
    """Returns title and description of an entry, and what else of it is small."""
    cleaned = _texts(entry, {"title": MAX_TITLE_CHARS, "description": MAX_DESCRIPTION_CHARS})
    others = [key for key in entry if key not in (*apart, "title", "description") and is_clean(key)]
    small = {key: _small(entry[key]) for key in others[:20] if len(key) <= MAX_NAME_CHARS}
    return {**cleaned, **{key: value for key, value in small.items() if value is not _NOTHING}}


def _texts(entry: JsonObject, limits: dict[str, int]) -> JsonObject:
    return {
        key: clean(entry[key], limit)
        for key, limit in limits.items()
        if isinstance(entry.get(key), str)
    }


_NOTHING: Any = object()


def _small(value: Any) -> Any:
    """Returns a value that is short, `_NOTHING` for a longer one."""
    if isinstance(value, str):
        return clean(value) if len(value) <= MAX_EXTRA_BYTES else _NOTHING
    if not isinstance(value, list | dict):
        return value
    return _NOTHING if excess(value, MAX_EXTRA_BYTES, MAX_EXTRA_DEPTH) else clean_data(value)


def _capabilities(value: Any) -> Any:
    """Returns what a server can do, as far as it is short: it is kept with the connection."""
    if not isinstance(value, dict):
        return value
    small = {name: _small(each) for name, each in list(value.items())[:20]}
    return {name: each for name, each in small.items() if each is not _NOTHING}


def _versions(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [clean(each, 32) for each in value[:20] if isinstance(each, str)]


def _opaque(value: Any) -> Any:
    """Returns what the server wants back as it is, if that is not too much to send."""
    is_long = isinstance(value, str) and len(value) > MAX_OPAQUE_CHARS
    return _NOTHING if is_long else value


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "capabilities": _capabilities,
    "supportedVersions": _versions,
    "nextCursor": _opaque,
    "requestState": _opaque,
    "_meta": _small,
    "instructions": _small,
}
_LISTS: dict[str, Callable[[JsonObject, Notes], JsonObject | None]] = {
    "tools": _tool,
    "resources": _resource,
    "resourceTemplates": _template,
    "prompts": _prompt,
}
_PARTS = ("content", "contents", "messages")
