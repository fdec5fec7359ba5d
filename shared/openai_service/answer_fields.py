"""Fields of a provider's JSON answer, which nothing has validated: they may hold anything."""

from typing import Any

from shared.errors import ProviderUnavailable

MAX_COUNT = 10**12
"""Larger counts are treated as not reported."""


def reported_count(value: object) -> int | None:
    """Returns a number of tokens; None if it is not a valid count, such as ``NaN`` or a negative number.

    Args:
        value: What stands in the answer, which nothing has validated.
    """
    number = reported_number(value)
    return None if number is None or number != int(number) else int(number)


def reported_number(value: object) -> float | None:
    """Returns a number of something, such as seconds; None if it is not a valid one.

    Args:
        value: What stands in the answer, which nothing has validated.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= MAX_COUNT else None


def field(value: object, name: str) -> Any:
    """Returns a field of a JSON object; None of anything else."""
    return value.get(name) if isinstance(value, dict) else None


def text_field(value: object, name: str) -> str:
    """Returns a text of a JSON object, an empty one where it has none.

    Raises:
        ProviderUnavailable: The field holds something else, such as NaN.
    """
    text = field(value, name) or ""
    if not isinstance(text, str):
        raise not_a_completion()
    return text


def list_field(value: object, name: str) -> list[object]:
    """Returns a list of a JSON object, an empty one where it has none.

    Raises:
        ProviderUnavailable: The field holds something else.
    """
    values = field(value, name) or []
    if not isinstance(values, list):
        raise not_a_completion()
    return values


def first(value: object) -> object:
    """Returns the first element of a JSON list; None of anything else."""
    return value[0] if isinstance(value, list) and value else None


def not_a_completion() -> ProviderUnavailable:
    """Returns the error for an answer that has not the shape of a chat completion."""
    return ProviderUnavailable(
        "The provider's answer is not a chat completion. Check its base URL."
    )
