"""Tool calls: arguments as the model writes them, results as it reads them and as they are stored."""

import json
from itertools import islice
from typing import Any

from pydantic_core import to_json

from shared.errors import InvalidRequest
from shared.openai_service import repair_surrogates
from shared.storage import MAX_FRESH_MEDIA, find_media
from shared.strict_json import check_limits, check_size
from shared.tools import ToolResult

MAX_RESULT_CHARS = 100_000
"""Maximum characters of a result that the model is sent, and that is stored."""

LARGE_RESULT_CHARS = 4000
"""Characters of a result of an earlier run beyond which the model is sent its media only."""

_MEDIA_KEYS = ("content_type", "expires_at", "id", "url")


def decode_arguments(arguments: str) -> dict[str, Any] | str:
    """Returns the arguments of a call, as the model wrote them where they are no JSON object.

    What is nested too deep, or has too many values, counts as none: it could not be stored, or sent on.
    """
    # Some providers send nothing at all for a tool without parameters.
    if not arguments.strip():
        return {}
    try:
        check_size(arguments.encode(errors="surrogatepass"))
        decoded = json.loads(arguments, parse_constant=_refuse_constant)
        check_limits(decoded)
    except (ValueError, RecursionError, InvalidRequest):
        return arguments
    if not isinstance(decoded, dict):
        return arguments
    if "\\u" not in arguments:
        return decoded
    mended: dict[str, Any] = json.loads(repair_surrogates(json.dumps(decoded, ensure_ascii=False)))
    return mended


def text_for_model(result: ToolResult) -> str:
    """Returns a new result as the model reads it."""
    return _cut(f"Error: {result.text}" if result.is_error else result.text)


def stored_text(result: Any, *, is_error: bool, shrink: bool = False) -> str:
    """Returns a stored result as the model reads it.

    Args:
        result: Text, or a JSON value.
        is_error: Whether the tool failed.
        shrink: Whether a large one is replaced by the links of its media.
    """
    text = result if isinstance(result, str) else to_json(result).decode()
    text = f"Error: {text}" if is_error else text
    if shrink and len(text) > LARGE_RESULT_CHARS:
        return to_json(_media_of(result, len(text))).decode()
    return text


def storable(result: Any) -> Any:
    """Returns a result as it is stored; a JSON value stays one, so that its links can be renewed."""
    if isinstance(result, str):
        return _cut(result)
    chars = len(to_json(result).decode())
    return result if chars <= MAX_RESULT_CHARS else _media_of(result, chars)


def _media_of(result: Any, chars: int) -> dict[str, Any]:
    """Returns what is kept of a large result: its media, up to 100, and a note of its length."""
    found = islice(find_media(result), MAX_FRESH_MEDIA)
    media = [{key: each[key] for key in _MEDIA_KEYS} for each in found]
    return {"media": media, "note": f"Shortened: the result had {chars} characters."}


def _cut(text: str) -> str:
    if len(text) <= MAX_RESULT_CHARS:
        return text
    return f"{text[:MAX_RESULT_CHARS]}\n[cut: the result has {len(text)} characters]"


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
