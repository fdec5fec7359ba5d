"""Ids of objects that a provider stores: all principals share them, so requests may name none.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Iterator, Mapping
from typing import Any

from shared.errors import InvalidRequest

_STORED = {
    "previous_response_id": "Responses are not stored: send the whole input instead",
    "conversation": "Conversations of the provider would be shared: send the whole input instead",
    "background": "Responses are not stored, so none can go on without its request",
    "prompt": "Prompts of the provider are shared by all callers: send their text as instructions "
    "and input instead",
}
"""Fields of a response that need what is stored, and what to do instead."""

_CONTAINER = (
    'Containers of the provider are shared by all callers: use {"type": "auto"} without files'
)
_FILE = (
    "Files of the provider are shared by all callers: send the file itself, or store it "
    "with POST /media and name it as media://ID"
)
_CLIP = (
    "Clips of the provider are shared by all callers: send the transcript of the clip as content "
    "instead"
)
_ITEM = (
    "Items are not stored at the provider: send the whole item instead, as clients do that are told "
    "store=false"
)
_SKILL = "Skills of the provider are shared by all callers: send the skill itself"

_Fields = Mapping[str, Any]


def make_stateless(fields: _Fields) -> dict[str, Any]:
    """Keeps the provider from storing a response: its store would be one for all principals."""
    for name, reason in _STORED.items():
        if fields.get(name):
            raise InvalidRequest.for_field(name, reason)
    return {} if fields.get("store") is False else {"store": False}


def refuse_ids(fields: _Fields) -> None:
    """Refuses ids of what the provider stores.

    Args:
        fields: Of a chat completion or a response; they may be anything.

    Raises:
        InvalidRequest: There is one.
    """
    for name in ("messages", "input"):
        for index, item in enumerate(_list(fields.get(name))):
            if isinstance(item, Mapping):
                _check_item(item, f"{name}.{index}")
    _check_tools(fields, "")


def _check_item(item: _Fields, path: str) -> None:
    if _is_reference(item):
        raise InvalidRequest.for_field(path, _ITEM)
    for name in ("content", "output"):
        _check_file(item.get(name), f"{path}.{name}")
        for place, part in enumerate(_list(item.get(name))):
            _check_file(part, f"{path}.{name}.{place}")
    if _inside(item, "environment").get("container_id"):
        raise InvalidRequest.for_field(f"{path}.environment.container_id", _CONTAINER)
    if item.get("container_id"):
        # A tool whose container is automatic goes on in that of the last call in the input.
        raise InvalidRequest.for_field(f"{path}.container_id", _CONTAINER)
    if _inside(item, "audio").get("id"):
        raise InvalidRequest.for_field(f"{path}.audio.id", _CLIP)
    # An item may bring tools along: Codex sends all of them in one.
    _check_tools(item, f"{path}.")


def _is_reference(item: _Fields) -> bool:
    """Returns whether the provider would look an item up: the type of a reference may be left out."""
    kind = item.get("type")
    if kind == "image_generation_call":
        return not item.get("result")
    return kind == "item_reference" or (not kind and bool(item.get("id")) and not item.get("role"))


def _check_file(part: object, path: str) -> None:
    if isinstance(part, Mapping) and (part.get("file_id") or _inside(part, "file").get("file_id")):
        raise InvalidRequest.for_field(f"{path}.file_id", _FILE)


def _check_tools(holder: _Fields, prefix: str) -> None:
    for path, tool in _tools_of(holder, prefix):
        if tool.get("vector_store_ids"):
            raise InvalidRequest.for_field(
                f"{path}.vector_store_ids",
                "Vector stores of the provider are shared by all callers",
            )
        _check_file(tool.get("input_image_mask"), f"{path}.input_image_mask")
        for name in ("container", "environment"):
            _check_container(tool.get(name), f"{path}.{name}")


def _check_container(container: object, path: str) -> None:
    given = {"container_id": container} if isinstance(container, str) else container
    if not isinstance(given, Mapping):
        return
    if given.get("container_id") or given.get("file_ids"):
        raise InvalidRequest.for_field(path, _CONTAINER)
    for index, skill in enumerate(_list(given.get("skills"))):
        # Those that OpenAI itself offers, to everybody, have names of their own.
        if isinstance(skill, Mapping) and str(skill.get("skill_id")).startswith("skill_"):
            raise InvalidRequest.for_field(f"{path}.skills.{index}.skill_id", _SKILL)


def _tools_of(holder: _Fields, prefix: str) -> Iterator[tuple[str, _Fields]]:
    """Yields the tools of a request, an item or a namespace, each with its path."""
    for index, tool in enumerate(_list(holder.get("tools"))):
        if isinstance(tool, Mapping):
            path = f"{prefix}tools.{index}"
            yield path, tool
            for inner, each in enumerate(_list(tool.get("tools"))):
                if isinstance(each, Mapping):
                    yield f"{path}.tools.{inner}", each


def _inside(fields: _Fields, name: str) -> _Fields:
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
