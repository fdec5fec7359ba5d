"""Whole characters: JSON may hold halves of one, which no other text can."""


def whole_characters(text: str) -> str:
    """Returns a text whose halves of characters are joined, or replaced where one is missing.

    JSON escapes a character beyond U+FFFF as two halves, and models and providers stop between them.
    UTF-8 cannot hold a half, so that no answer with one could be sent or stored.
    Source: RFC 8259, section 8.2
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def split_last_half(text: str) -> tuple[str, str]:
    """Returns a text without the first half of a character at its end, and that half or nothing."""
    if text and "\ud800" <= text[-1] <= "\udbff":
        return text[:-1], text[-1]
    return text, ""
