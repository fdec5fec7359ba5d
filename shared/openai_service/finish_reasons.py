"""Why a model stopped, in OpenAI's four words, whatever the provider's words are."""

from collections.abc import Mapping
from typing import Literal

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]

_REASONS: Mapping[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
    "image_safety": "content_filter",
    "image_prohibited_content": "content_filter",
    "image_recitation": "content_filter",
}


def finish_reason(given: str | None) -> FinishReason:
    """Returns OpenAI's word for a reason.

    Args:
        given: What the provider says, such as Gemini's ``MAX_TOKENS`` or ``content_filter: SAFETY``.
            What is not known, or not said, is an end like any other: ``stop``.
    """
    return _REASONS.get((given or "").partition(":")[0].strip().lower(), "stop")
