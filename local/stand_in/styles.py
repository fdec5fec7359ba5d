"""Habits of providers that speak OpenAI's API with an accent of their own."""

from typing import Any, Literal

_GEMINI_REASONS = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}


def in_style_of(
    style: Literal["azure", "gemini"] | None, bodies: list[dict[str, Any]], part: str
) -> list[dict[str, Any]]:
    """Returns the bodies of an answer as another provider would write them.

    Azure begins a stream with what its filter says of the prompt, in a chunk without choices or model.
    Gemini has reasons of its own, and sends tool calls in one piece, without ids and without indices.

    Args:
        style: Whose habits; None for OpenAI's.
        bodies: The whole answer, or the chunks of a stream.
        part: Where the message is in a choice: ``message`` or ``delta``.
    """
    if style == "azure":
        filtered = {"prompt_index": 0, "content_filter_results": {}}
        first = {**bodies[0], "model": "", "choices": [], "prompt_filter_results": [filtered]}
        return [first, *bodies] if part == "delta" else bodies
    if style == "gemini":
        return [_as_gemini(body, part) for body in _join_calls(bodies, part)]
    return bodies


def _join_calls(bodies: list[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    joined: list[dict[str, Any]] = []
    for body in bodies:
        pieces = [
            call for choice in body["choices"] for call in choice[part].get("tool_calls") or []
        ]
        is_rest = part == "delta" and pieces and "id" not in pieces[0]
        if is_rest:
            [call] = joined[-1]["choices"][0][part]["tool_calls"]
            call["function"]["arguments"] += pieces[0]["function"]["arguments"]
        else:
            joined.append(body)
    return joined


def _as_gemini(body: dict[str, Any], part: str) -> dict[str, Any]:
    for choice in body["choices"]:
        reason = choice["finish_reason"]
        choice["finish_reason"] = _GEMINI_REASONS.get(reason, reason)
        for call in choice[part].get("tool_calls") or []:
            call["id"] = ""
            call.pop("index", None)
    return body
