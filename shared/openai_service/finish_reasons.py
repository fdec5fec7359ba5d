"""Why a model stopped, in OpenAI's words wherever the provider's mean the same."""

from collections.abc import Mapping

_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "eos": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
    "image_safety": "content_filter",
    "image_prohibited_content": "content_filter",
    "image_recitation": "content_filter",
}


def finish_reason(given: str | None) -> str | None:
    """Returns OpenAI's word for a reason: ``stop``, ``length``, ``tool_calls`` or ``content_filter``.

    Args:
        given: What the provider says, such as Gemini's ``MAX_TOKENS`` or ``content_filter: SAFETY``. A
            reason that is not known stays as it is, in lower case: it may tell of a failure.
    """
    if given is None:
        return None
    word = given.partition(":")[0].strip().lower()
    return _REASONS.get(word, word)
