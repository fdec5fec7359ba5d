"""Complaints about fields: pydantic's, in plain words, and short enough for an answer.

pydantic speaks of Python's types; callers know JSON's. A complaint is a mapping with the field's place
(``loc``), what is wrong (``msg``) and the kind of mistake (``type``), as FastAPI lists them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from shared.errors.base import cut_text

_MAX_COMPLAINTS = 20
_MAX_DESCRIBED = 5
_MAX_COMPLAINT_CHARS = 1000
_MAX_STEPS = 10
_MAX_STEP_CHARS = 64

_DATE = "Must be a date, such as 2026-11-21"
_TIME = "Must be a time with its zone, such as 2026-11-21T09:00:00Z"
_WORDS: Mapping[str, str] = {
    "missing": "This field is required",
    "extra_forbidden": "There is no field of this name",
    "string_type": "Must be a string",
    "int_type": "Must be an integer",
    "int_parsing": "Must be an integer",
    "int_from_float": "Must be an integer",
    "float_type": "Must be a number",
    "float_parsing": "Must be a number",
    "finite_number": "Must be a finite number",
    "bool_type": "Must be true or false",
    "bool_parsing": "Must be true or false",
    "list_type": "Must be an array",
    "tuple_type": "Must be an array",
    "set_type": "Must be an array",
    "frozen_set_type": "Must be an array",
    "dict_type": "Must be an object",
    "mapping_type": "Must be an object",
    "model_type": "Must be an object",
    "model_attributes_type": "Must be an object",
    "dataclass_type": "Must be an object",
    "literal_error": "Must be {expected}",
    "enum": "Must be {expected}",
    "greater_than_equal": "Must be at least {ge}",
    "greater_than": "Must be more than {gt}",
    "less_than_equal": "Must be at most {le}",
    "less_than": "Must be less than {lt}",
    "string_too_short": "Must have at least {min_length} characters",
    "string_too_long": "Must have at most {max_length} characters",
    "string_pattern_mismatch": "Must match the pattern {pattern}",
    "too_short": "Must have at least {min_length} items",
    "too_long": "Must have at most {max_length} items",
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "timezone_aware": _TIME,
}
"""What is said instead of pydantic's words, with values of its context in braces."""

_BOUNDS = ("ge", "gt", "le", "lt")
_OWN_PREFIX = "Value error, "


def complaints_of(error: ValidationError, *place: str) -> list[dict[str, Any]]:
    """Returns the complaints of a failed validation in plain words.

    Args:
        error: The failed validation.
        place: Steps to put before those to each field, such as ``body``.
    """
    complaints = error.errors(include_url=False, include_input=False)
    return plain_complaints({**each, "loc": (*place, *each["loc"])} for each in complaints)


def plain_complaints(complaints: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns complaints of pydantic's in plain words, one for each field.

    Of a field that may be of several types pydantic complains once for each, with the type as the last
    step of the field's place.
    """
    merged: dict[tuple[int | str, ...], dict[str, Any]] = {}
    for complaint in complaints:
        loc = complaint["loc"]
        if complaint["type"] != "extra_forbidden":
            loc = tuple(step for step in loc if not _is_type(step))
        found = {"type": complaint["type"], "loc": loc, "msg": plain_words(complaint)}
        if (other := merged.get(loc)) is None:
            merged[loc] = found
        elif found["msg"] != other["msg"]:
            alternative = found["msg"].removeprefix("Must be ")
            other["msg"] = f"{other['msg']}, or {alternative}"
    inner = {loc[:depth] for loc in merged for depth in range(len(loc))}
    whole = [each for loc, each in merged.items() if loc not in inner]
    return whole or [*merged.values()]


def _is_type(step: int | str) -> bool:
    return isinstance(step, str) and step.endswith("]") and "[" in step[1:]


def plain_words(complaint: Mapping[str, Any]) -> str:
    """Returns what is wrong with a field, without a full stop; pydantic's words for rare kinds."""
    context = dict(complaint.get("ctx", {}))
    if context.get("min_length") == 1:
        return "Must not be empty"
    for name in _BOUNDS:
        if isinstance(context.get(name), float):
            context[name] = f"{context[name]:g}"
    words = _WORDS.get(complaint["type"])
    if words is None:
        return str(complaint["msg"]).removeprefix(_OWN_PREFIX)
    return words.format_map(context)


def describe_complaints(complaints: Sequence[Mapping[str, Any]]) -> str:
    """Returns complaints as one text: of the first ones the field and what is wrong with it."""
    sentences = []
    for complaint in complaints[:_MAX_DESCRIBED]:
        field = ".".join(str(step) for step in complaint["loc"][1:])
        sentences.append(f"{field}: {complaint['msg']}" if field else complaint["msg"])
    if len(complaints) > _MAX_DESCRIBED:
        sentences.append("the others are in 'errors'")
    return "; ".join(sentences)


def shorten(complaints: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns what fits into an answer of a list of complaints, which may be longer than the request.

    Args:
        complaints: As pydantic and FastAPI list them, with ``loc``, ``msg`` and ``type``.
    """
    shortened = [
        {
            **complaint,
            "loc": tuple(
                cut_text(step, _MAX_STEP_CHARS) if isinstance(step, str) else step
                for step in complaint["loc"][:_MAX_STEPS]
            ),
            "msg": cut_text(complaint["msg"], _MAX_COMPLAINT_CHARS),
        }
        for complaint in complaints[:_MAX_COMPLAINTS]
    ]
    if rest := len(complaints) - len(shortened):
        more = {"type": "too_many_errors", "loc": (), "msg": f"{rest} more errors are not listed"}
        shortened.append(more)
    return shortened
