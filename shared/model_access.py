"""Which models a call may use.

The principal of a call brings lists of patterns, the settings one more. They travel in a context
variable from the scope of the call to the place where a model is chosen, so that no door can forget
them.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar, Token
from typing import Any

from shared.errors import InvalidRequest, ModelNotAllowed

_CHOOSES_MODELS = re.compile(
    r"models|model_?list|\w*fallbacks?|route|router|presets?|plugins|user_config|provider_?options",
    re.IGNORECASE,
)
"""Fields by which OpenRouter, LiteLLM and other gateways choose further models."""

_NAMES_MODEL = re.compile(r"(\w+_)?(model|deployment)(_?(name|id))?", re.IGNORECASE)

_CONTENT = frozenset(
    {
        "messages",
        "input",
        "prompt",
        "instructions",
        "metadata",
        "response_format",
        "text",
        "functions",
    }
)
"""Fields of a request that hold what callers write, in which any word may stand."""

_TOOL_CONTENT = frozenset({"function", "parameters", "format", "tools", "description", "headers"})

_MODEL_FREE_TOOLS = (
    "function",
    "custom",
    "web_search",
    "file_search",
    "code_interpreter",
    "computer",
    "mcp",
    "local_shell",
    "shell",
    "apply_patch",
    "tool_search",
    "namespace",
)
"""How the types of tools begin that use no model of their own.

Source: https://platform.openai.com/docs/guides/tools
"""

_PRESET = "@preset/"
"""In the name of a model: a preset of OpenRouter, which may have other models to fall back to."""

MAX_COMMON = 1000
"""Maximum patterns that several lists have in common."""

ModelLists = Sequence[Sequence[str]]
"""Lists of patterns; a model has to match one of each list."""

_current: ContextVar[ModelLists] = ContextVar("model_access", default=())


def limit_models(lists: ModelLists) -> Token[ModelLists]:
    """Lets this task, and those that it starts, use no other models.

    Returns:
        What `unlimit_models` takes.
    """
    return _current.set(lists)


def unlimit_models(before: Token[ModelLists]) -> None:
    """Takes `limit_models` back."""
    _current.reset(before)


def is_limited() -> bool:
    """Returns whether the caller may not use every model."""
    return bool(_current.get())


def check_model(name: str, also_known_as: Collection[str] = (), lists: ModelLists = ()) -> None:
    """Checks that the caller may use a model.

    Args:
        name: The model or deployment, as the provider is asked for it.
        also_known_as: Other names of the same model, such as the one behind a deployment.
        lists: Further lists that hold for every caller.

    Raises:
        ModelNotAllowed: The caller may not.
    """
    names = {name, *also_known_as}
    for patterns in (*lists, *_current.get()):
        if not any(_fits(pattern, each) for pattern in patterns for each in names):
            raise ModelNotAllowed(name, patterns)


def common_patterns(lists: ModelLists) -> list[str]:
    """Returns patterns of the models that fit a pattern of each list.

    Of two patterns with several stars, what both fit is told only where one of them contains the other.

    Args:
        lists: At least one list.
    """
    first, *others = lists
    found = list(first)
    for patterns in others:
        pairs = [_common(one, other) for one in found for other in patterns]
        found = list(dict.fromkeys(each for common in pairs for each in common))[:MAX_COMMON]
    return found


def _common(one: str, other: str) -> Sequence[str]:
    if _matches(one, other):
        return [other]
    if _matches(other, one):
        return [one]
    if one.count("*") != 1 or other.count("*") != 1:
        return []
    halves = [each.split("*") for each in (one, other)]
    begin, begin_other = sorted((half[0] for half in halves), key=len, reverse=True)
    end, end_other = sorted((half[1] for half in halves), key=len, reverse=True)
    if not begin.startswith(begin_other) or not end.endswith(end_other):
        return []
    # The beginning and the end may share some characters, too.
    whole = [begin + end[size:] for size in range(1, min(len(begin), len(end)) + 1)]
    fitting = [each for each in whole if _matches(one, each) and _matches(other, each)]
    return [f"{begin}*{end}", *fitting]


def check_other_models(fields: Mapping[str, Any], lists: ModelLists = ()) -> None:
    """Checks that a body names no model beside its own ``model`` that the caller may not use.

    Gateways take further fields by which they choose models, and providers run tools that use models
    of their own. Nothing is refused where every model may be used.

    Args:
        fields: The body, or a part of it. Its own ``model`` is checked where the provider is chosen.
        lists: Further lists that hold for every caller.

    Raises:
        InvalidRequest: A field chooses models in a way that cannot be checked.
        ModelNotAllowed: A field names a model that the caller may not use.
    """
    if not lists and not is_limited():
        return
    if isinstance(fields.get("prompt"), Mapping):
        raise _unclear("prompt")
    items = fields.get("input")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, Mapping) and "tools" in item:
            _check_tools(item["tools"], "input.tools", lists)
    own = {name: fields[name] for name in fields.keys() - _CONTENT - {"model"}}
    _check_fields(own, "", lists)


def check_field_names(names: Iterable[str]) -> None:
    """Checks that the fields of a form choose no models beside ``model``.

    Raises:
        InvalidRequest: One does.
    """
    for name in names:
        plain = name.partition("[")[0]
        if plain != "model" and (_CHOOSES_MODELS.fullmatch(plain) or _NAMES_MODEL.fullmatch(plain)):
            raise _unclear(plain)


def _check_fields(fields: Mapping[str, Any], path: str, lists: ModelLists) -> None:
    for name, value in fields.items():
        place = f"{path}{name}"
        if value is None or isinstance(value, bool | int | float):
            continue
        if _CHOOSES_MODELS.fullmatch(name):
            raise _unclear(place)
        if _NAMES_MODEL.fullmatch(name) and not isinstance(value, Mapping):
            if not isinstance(value, str):
                raise _unclear(place)
            check_model(value, lists=lists)
        elif name == "tools":
            _check_tools(value, place, lists)
        else:
            _check_values(value, place, lists)


def _check_values(value: object, place: str, lists: ModelLists) -> None:
    if isinstance(value, Mapping):
        _check_fields(value, f"{place}.", lists)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            _check_values(each, f"{place}.{index}", lists)


def _check_tools(tools: object, path: str, lists: ModelLists) -> None:
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        if not isinstance(tool, Mapping):
            continue
        place = f"{path}.{index}"
        kind = tool.get("type", "function")
        names_model = isinstance(tool.get("model"), str)
        if not names_model and not (isinstance(kind, str) and kind.startswith(_MODEL_FREE_TOOLS)):
            raise InvalidRequest.for_field(
                f"{place}.model",
                "Name the model that this tool uses: this key may not use every model",
            )
        own = {name: tool[name] for name in tool.keys() - _TOOL_CONTENT}
        _check_fields(own, f"{place}.", lists)
        _check_tools(tool.get("tools"), f"{place}.tools", lists)


def _unclear(name: str) -> InvalidRequest:
    return InvalidRequest.for_field(
        name, "Name the model in 'model' only: this key may not use every model"
    )


def _fits(pattern: str, name: str) -> bool:
    return _matches(pattern, name) and (_PRESET in pattern or _PRESET not in name)


def _matches(pattern: str, name: str) -> bool:
    """Returns whether a name fits a pattern, in time that grows with its length only."""
    first, *middle = pattern.split("*")
    if not middle:
        return name == pattern
    last = middle.pop()
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    position, end = len(first), len(name) - len(last)
    for part in middle:
        position = name.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True
