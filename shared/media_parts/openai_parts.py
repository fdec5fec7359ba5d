"""``media://ID`` in the parts of OpenAI's APIs, where clients of these name a stored medium.

Sources: https://platform.openai.com/docs/api-reference/chat/create and responses/create there
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.media_parts.files import LoadedFile
from shared.media_parts.inputs import MEDIA_SCHEME
from shared.parallel import gather_limited

PARALLEL_READS = 4

_IN_FILE = ("file_data", "file_id", "file_url")
_LISTS: Mapping[str, Sequence[str]] = {"messages": ("content",), "input": ("content", "output")}
"""Fields of a request with items, each with the fields of an item that may hold lists of parts."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A stored medium in a part.

    Attributes:
        media_id: The medium.
        field: The field that names it.
        is_image: Whether the part takes pictures only.
        is_response: Whether the part is one of the Responses API.
    """

    media_id: str
    field: str
    is_image: bool
    is_response: bool

    async def put(self, part: Mapping[str, Any], file: LoadedFile) -> dict[str, Any]:
        """Returns the part with the file in place of the reference."""
        made = await (file.as_response_part() if self.is_response else file.as_chat_part())
        if not file.is_image:
            return made
        # How closely a model looks at a picture is for the caller to say.
        if self.is_response:
            return made | {key: part[key] for key in ("detail",) if key in part}
        given = part.get("image_url")
        if isinstance(given, Mapping):
            made["image_url"] = {**given, **made["image_url"]}
        return made


Load = Callable[[Reference], Awaitable[LoadedFile]]


def find_reference(part: Any, path: str) -> Reference | None:
    """Returns the stored medium that a part names, None where it names none.

    Args:
        part: A part of a message, of the Chat Completions or of the Responses API.
        path: Where it stands, for errors.
    """
    if not isinstance(part, Mapping):
        return None
    match part.get("type"):
        case "image_url":
            given = part.get("image_url")
            url = given.get("url") if isinstance(given, Mapping) else given
            return _reference(url, f"{path}.image_url", is_image=True, is_response=False)
        case "input_image":
            url = part.get("image_url")
            return _reference(url, f"{path}.image_url", is_image=True, is_response=True)
        case "file":
            inside, where, is_response = part.get("file"), f"{path}.file", False
        case "input_file":
            inside, where, is_response = part, path, True
        case _:
            return None
    if not isinstance(inside, Mapping):
        return None
    for name in _IN_FILE:
        field = f"{where}.{name}"
        if found := _reference(inside.get(name), field, is_image=False, is_response=is_response):
            return found
    return None


async def replace_references(fields: Mapping[str, Any], load: Load) -> dict[str, Any]:
    """Returns those fields of a request that change, with files in place of references.

    Args:
        fields: Of a request of the Chat Completions or the Responses API; they may be anything.
        load: Reads the file of a reference.
    """
    changed: dict[str, Any] = {}
    for name, lists in _LISTS.items():
        items = fields.get(name)
        if isinstance(items, list):
            replaced = [
                await _replace_in_item(item, lists, f"{name}.{index}", load)
                for index, item in enumerate(items)
            ]
            if any(new is not old for new, old in zip(replaced, items, strict=True)):
                changed[name] = replaced
    return changed


async def _replace_in_item(item: Any, lists: Sequence[str], path: str, load: Load) -> Any:
    if not isinstance(item, Mapping):
        return item
    changed = dict(item)
    for name in lists:
        parts = item.get(name)
        if isinstance(parts, list):
            changed[name] = await replace_in_parts(parts, f"{path}.{name}", load)
    same = all(changed[name] is item[name] for name in item)
    return item if same else changed


async def replace_in_parts(parts: list[Any], path: str, load: Load) -> list[Any]:
    """Returns parts with files in place of references; the very list where there is none."""
    references = [find_reference(part, f"{path}.{index}") for index, part in enumerate(parts)]
    if not any(references):
        return parts

    async def replace(part: Any, reference: Reference | None) -> Any:
        return part if reference is None else await reference.put(part, await load(reference))

    pairs = zip(parts, references, strict=True)
    return await gather_limited(PARALLEL_READS, (replace(*pair) for pair in pairs))


def _reference(url: Any, field: str, *, is_image: bool, is_response: bool) -> Reference | None:
    if not isinstance(url, str) or not url.startswith(MEDIA_SCHEME):
        return None
    return Reference(url.removeprefix(MEDIA_SCHEME), field, is_image, is_response)
