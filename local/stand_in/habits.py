"""Habits of providers that speak OpenAI's API with an accent of their own."""

from collections.abc import Mapping
from typing import Any, Literal

from starlette.responses import JSONResponse, Response

from local.stand_in.exchange import Refusal
from local.stand_in.script import Rule

_GEMINI_REASONS = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}

_SIGNATURE = {"google": {"thought_signature": "c2lnbmVk"}}
_SAFE = {"violence": {"filtered": False, "severity": "safe"}}


def refuse(body: Mapping[str, Any], rule: Rule) -> Response | None:
    """Refuses what the model is said not to know; returns None where it knows everything.

    Gemini words it differently, puts the error into a list, and wants the signature back that it gave
    the first of the calls of a message.

    Raises:
        Refusal: In OpenAI's words.
    """
    unknown = next((name for name in rule.rejects if name in body), None)
    if rule.style == "gemini":
        if unknown:
            return _gemini_error(f'Unknown name "{unknown}": Cannot find field.')
        if not all(_is_signed(message) for message in body["messages"]):
            return _gemini_error("Function call is missing a thought_signature.")
    elif unknown in ("temperature", "top_p"):
        raise Refusal(
            f"Unsupported value: '{unknown}' does not support {body[unknown]} with this model. "
            "Only the default (1) value is supported.",
            code="unsupported_value",
            param=unknown,
        )
    elif unknown:
        raise Refusal(
            f"Unsupported parameter: '{unknown}' is not supported with this model.",
            code="unsupported_parameter",
            param=unknown,
        )
    return None


def _is_signed(message: Mapping[str, Any]) -> bool:
    calls = message.get("tool_calls")
    return not calls or calls[0].get("extra_content") == _SIGNATURE


def _gemini_error(message: str) -> Response:
    error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
    return JSONResponse([{"error": error}], status_code=400)


def in_style_of(
    style: Literal["azure", "gemini"] | None, bodies: list[dict[str, Any]], part: str
) -> list[dict[str, Any]]:
    """Returns the bodies of an answer as another provider would write them.

    Azure begins a stream with what its filter says of the prompt, in a chunk without choices or model,
    and later tells what it says of the answer in a choice without a delta. Gemini has reasons of its
    own, and sends tool calls in one piece, without ids and without indices, the first one signed.

    Args:
        style: Whose habits; None for OpenAI's.
        bodies: The whole answer, or the chunks of a stream.
        part: Where the message is in a choice: ``message`` or ``delta``.
    """
    if style == "azure":
        filtered = {"prompt_index": 0, "content_filter_results": {}}
        first = {**bodies[0], "model": "", "choices": [], "prompt_filter_results": [filtered]}
        checked = {"index": 0, "finish_reason": None, "content_filter_results": _SAFE}
        second = {**bodies[0], "choices": [checked]}
        return [first, bodies[0], second, *bodies[1:]] if part == "delta" else bodies
    if style == "gemini":
        joined = _join_calls(bodies, part)
        _sign(joined, part)
        return [_as_gemini(body, part) for body in joined]
    return bodies


def _sign(bodies: list[dict[str, Any]], part: str) -> None:
    for body in bodies:
        for choice in body["choices"]:
            for call in choice[part].get("tool_calls") or []:
                call["extra_content"] = _SIGNATURE
                return


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
