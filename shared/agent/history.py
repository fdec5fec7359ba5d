"""What the model is told of earlier turns: as much as its budget takes, newest turns first."""

import json
from collections.abc import AsyncIterable, Mapping, Sequence
from itertools import islice
from math import ceil
from typing import Any

from pydantic_core import to_json

from shared.storage import MAX_FRESH_MEDIA, Line, find_media

Message = dict[str, Any]

BYTES_PER_TOKEN = 4
MESSAGE_TOKENS = 4
"""Around each message, for its role."""

LARGE_RESULT_CHARS = 4000
_MEDIA_KEYS = ("content_type", "expires_at", "id", "url")
_UNKNOWN_OUTCOME = "Error: The call was broken off; what came of it is not known."


def estimate_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Returns about how many tokens messages have: one for four bytes of UTF-8, and four for each.

    Tokenizers differ from model to model. English has about four characters in a token; other
    scripts have fewer, but need more bytes for each.
    """
    return sum(MESSAGE_TOKENS + ceil(_size(message) / BYTES_PER_TOKEN) for message in messages)


async def select_history(turns: AsyncIterable[Sequence[Line]], max_tokens: int) -> list[Message]:
    """Returns the newest whole turns that fit, in the order in which they were said.

    Whole turns, so that no tool call is ever parted from its result. Large tool results shrink to
    their media links, but in the newest turn only where it does not fit otherwise.

    Args:
        turns: The turns as their lines, newest first; not read further than needed.
        max_tokens: Most tokens by `estimate_tokens`.
    """
    chosen: list[list[Message]] = []
    left = max_tokens
    is_newest = True
    async for turn in turns:
        messages = messages_of(turn, shrink=not is_newest)
        if is_newest and estimate_tokens(messages) > left:
            messages = messages_of(turn, shrink=True)
        left -= estimate_tokens(messages)
        if left < 0:
            break
        if messages:
            is_newest = False
            chosen.append(messages)
    return [message for messages in reversed(chosen) for message in messages]


def messages_of(turn: Sequence[Line], *, shrink: bool) -> list[Message]:
    """Returns one turn as the Chat Completions API takes it; nothing where nothing was answered.

    A turn that failed at once leaves no trace: its caller has heard of the failure and asks again.
    """
    messages: list[Message] = []
    results: dict[str, Message] = {}
    for line in turn:
        if line["type"] == "user":
            messages.append({"role": "user", "content": line["content"]})
        elif line["type"] == "assistant":
            message, results = _assistant(line)
            messages += [message, *results.values()]
        elif line["type"] == "tool" and line["id"] in results:
            results[line["id"]]["content"] = result_text(
                line["result"], is_error=line["is_error"], shrink=shrink
            )
    return messages if len(messages) > 1 else []


def result_text(result: Any, *, is_error: bool, shrink: bool = False) -> str:
    """Returns a tool's result as the model reads it.

    Args:
        result: Text, or a JSON value.
        is_error: Whether the tool failed.
        shrink: Whether a large one becomes its media links.
    """
    text = result if isinstance(result, str) else to_json(result).decode()
    text = f"Error: {text}" if is_error else text
    if shrink and len(text) > LARGE_RESULT_CHARS:
        return to_json(media_links(result, len(text))).decode()
    return text


def media_links(result: Any, chars: int) -> dict[str, Any]:
    """Returns what is kept of a large result: the media in it, up to 100, and a note of its length."""
    found = islice(find_media(result), MAX_FRESH_MEDIA)
    media = [{key: each[key] for key in _MEDIA_KEYS} for each in found]
    return {"media": media, "note": f"Shortened: the result had {chars} characters."}


def _size(message: Mapping[str, Any]) -> int:
    texts = (
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in message.items()
        if key != "role" and value
    )
    return sum(len(text.encode(errors="surrogatepass")) for text in texts)


def _assistant(line: Line) -> tuple[Message, dict[str, Message]]:
    message: Message = {"role": "assistant", "content": line["content"] or None}
    if not line["tool_calls"]:
        return {**message, "content": line["content"]}, {}
    results = {
        call["id"]: {"role": "tool", "tool_call_id": call["id"], "content": _UNKNOWN_OUTCOME}
        for call in line["tool_calls"]
    }
    return {**message, "tool_calls": line["tool_calls"]}, results
