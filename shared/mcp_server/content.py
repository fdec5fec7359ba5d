"""The kinds of content in results for an MCP client: not every client reads all of the protocol's."""

from collections.abc import Iterable

from shared.connections import part_as_text
from shared.errors import InvalidRequest
from shared.tools import JsonObject

KINDS = ("text", "image", "audio", "resource", "resource_link")
"""The types of content blocks, by the protocol's names."""

RESOURCE_LINK_REVISION = "2025-06-18"
"""The first revision of the protocol whose results may hold links to resources."""


def read_kinds(named: str) -> frozenset[str]:
    """Returns the kinds of content that a client names, and text, which every result has.

    Args:
        named: Names of the protocol, comma-separated.

    Raises:
        InvalidRequest: One is none of them.
    """
    kinds = [each.strip() for each in named.split(",")]
    if unknown := [each for each in kinds if each not in KINDS]:
        raise InvalidRequest(
            f"content: '{unknown[0][:50]}' is no kind of content. Name those that results may have, "
            f"comma-separated: {', '.join(KINDS)}."
        )
    return frozenset(["text", *kinds])


def kinds_for(revision: str, wanted: frozenset[str] | None) -> frozenset[str]:
    """Returns the kinds of content that a client takes.

    Args:
        revision: The revision of the protocol that it speaks.
        wanted: The kinds that it has named; None for all.
    """
    kinds = frozenset(KINDS) if wanted is None else wanted
    return kinds if revision >= RESOURCE_LINK_REVISION else kinds - {"resource_link"}


def of_kinds(parts: Iterable[JsonObject], kinds: frozenset[str]) -> list[JsonObject]:
    """Returns parts of another server's result, of which those of other kinds have become text."""
    return [
        part if part["type"] in kinds else {"type": "text", "text": part_as_text(part)}
        for part in parts
    ]
