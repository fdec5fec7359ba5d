"""Strict JSON decoding with limits on depth, keys and values."""

import re
from typing import Any

from pydantic_core import from_json

from shared.errors import InvalidRequest, MalformedJson

MAX_KEYS = 1000
"""Maximum keys of one object."""

MAX_DEPTH = 64
"""Maximum nesting of objects and lists."""

MAX_VALUES = 100_000
"""Maximum values of one document: what its objects and lists hold, together."""

MAX_EXACT_INTEGER = 2**53
"""Up to which numbers with a fraction hold every integer (RFC 8259, section 6)."""

_TOO_DEEP = f"The JSON is nested more than {MAX_DEPTH} levels deep. Flatten it."
_TOO_MANY_VALUES = f"The JSON has more than {MAX_VALUES} values. Send fewer."

# Without escapes in strings; possessive, so that nothing is tried twice.
_TOO_MANY_COMMAS = re.compile(rb'(?>(?:[^",]++|"[^"]*+")*+,){%d}' % MAX_VALUES)
_TOO_MANY_BRACKETS = re.compile(rb'(?>(?:[^"\[{]++|"[^"]*+")*+[\[{]){%d}' % (MAX_VALUES + 2))


def read_json(document: bytes) -> Any:
    """Returns what a document holds.

    Stricter than Python's own decoder, which takes NaN, lone surrogates, UTF-16 and UTF-32: nothing that
    could be sent on to a provider, or back to the caller.

    Args:
        document: UTF-8.

    Raises:
        MalformedJson: It is no JSON.
        InvalidRequest: It holds more than `check_limits` allows.
    """
    check_size(document)
    try:
        value = from_json(document, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        # The decoder's own limit is higher than ours.
        if "recursion limit exceeded" in str(error):
            raise InvalidRequest(_TOO_DEEP) from error
        raise MalformedJson("The body is not valid JSON.") from error
    check_limits(value)
    return value


def check_size(document: bytes) -> None:
    """Refuses a document with too many values before they are decoded, which could take seconds.

    Raises:
        InvalidRequest: There are more than `MAX_VALUES`.
    """
    # Each value but the first of its list or object follows a comma, and each list or object but the
    # outermost is a value. Texts may hold as many of these characters as they like.
    commas = document.count(b",") >= MAX_VALUES
    brackets = document.count(b"[") + document.count(b"{") >= MAX_VALUES + 2
    if not commas and not brackets:
        return
    document = document.replace(b"\\\\", b"").replace(b'\\"', b"")
    if (commas and _TOO_MANY_COMMAS.match(document)) or (
        brackets and _TOO_MANY_BRACKETS.match(document)
    ):
        raise InvalidRequest(_TOO_MANY_VALUES)


def check_limits(value: Any) -> None:
    """Makes sure that a decoded document is small enough to be validated field by field.

    Validators build an error for each key that they do not know: hundreds of thousands of them take
    seconds and fill the memory.

    Raises:
        InvalidRequest: There are too many keys, levels or values.
    """
    level = [value] if isinstance(value, dict | list) else []
    depth = values = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise InvalidRequest(_TOO_DEEP)
        deeper = []
        for each in level:
            values += len(each)
            if isinstance(each, dict) and len(each) > MAX_KEYS:
                raise InvalidRequest(f"An object has more than {MAX_KEYS} keys. Send fewer.")
            if values > MAX_VALUES:
                raise InvalidRequest(_TOO_MANY_VALUES)
            inner = each.values() if isinstance(each, dict) else each
            deeper += [part for part in inner if isinstance(part, dict | list)]
        level = deeper


def as_integer(value: Any) -> Any:
    """Returns a number such as 2.0 as the integer that it is, and everything else as it is.

    Source: https://json-schema.org/draft/2020-12/json-schema-core, section 4.2.3
    """
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < MAX_EXACT_INTEGER
    return int(value) if is_whole else value
