"""Text of providers: repair of broken surrogate pairs, and finish reasons."""

from collections.abc import Mapping

_FINISH_REASONS: Mapping[str, str] = {
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


def repair_surrogates(text: str) -> str:
    """Returns a text whose surrogate pairs are joined, and whose lone surrogates are replaced.

    JSON escapes a character beyond U+FFFF as two surrogates, and models and providers stop between
    them. UTF-8 has no surrogates: a text with one could neither be sent nor stored.
    Source: RFC 8259, section 8.2
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def split_surrogate(text: str) -> tuple[str, str]:
    """Returns a text without the high surrogate at its end, and that surrogate or nothing."""
    if text and "\ud800" <= text[-1] <= "\udbff":
        return text[:-1], text[-1]
    return text, ""


def finish_reason(given: str | None) -> str | None:
    """Returns OpenAI's word for it: ``stop``, ``length``, ``tool_calls`` or ``content_filter``.

    Args:
        given: The provider's word, such as Gemini's ``MAX_TOKENS`` or ``content_filter: SAFETY``. One
            that is not known is returned in lower case: it may name a failure.
    """
    if given is None:
        return None
    word = given.partition(":")[0].strip().lower()
    return _FINISH_REASONS.get(word, word)
