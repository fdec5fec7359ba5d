"""Reads lists to their end."""

from collections.abc import Awaitable, Callable
from typing import Any

MAX_PAGES = 100


async def read_pages(
    fetch: Callable[[str | None], Awaitable[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Returns all pages of a list, in the order in which they come.

    Args:
        fetch: Returns the page at a cursor; without a cursor, the first one.

    Raises:
        AssertionError: The list has no end.
    """
    cursor: str | None = None
    pages: list[dict[str, Any]] = []
    for _ in range(MAX_PAGES):
        pages.append(await fetch(cursor))
        cursor = pages[-1]["cursor"]
        if cursor is None:
            return pages
    raise AssertionError(f"There are pages after {MAX_PAGES}; the last was {pages[-1]!r}")
