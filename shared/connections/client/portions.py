"""Long lists in portions: the MCP SDK checks each page of a list in one go, on the event loop.

A page of some thousand values kept everybody waiting. So a session hands the SDK such a page as several,
each of which it checks as ever. Free of the SDK.
"""

import asyncio
import itertools
import json
import secrets
from collections.abc import Callable, Mapping, Set
from typing import Any

from shared.connections.client.answers import current_trace

JsonObject = dict[str, Any]

PORTION_BYTES = 32 * 1024
PORTION_ENTRIES = 100
"""Bytes, as JSON, and entries after which a portion ends."""

_FIELDS = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
# Servers never see them, and cannot name one.
_CURSOR = f"portion-{secrets.token_hex(16)}-"
_numbers = itertools.count(1)


def is_portion(cursor: str | None) -> bool:
    """Returns whether a cursor brings more of the page that the server has sent already."""
    return cursor is not None and cursor.startswith(_CURSOR)


class Portions:
    """The SDK's dispatcher, whose long pages of lists come in portions; all else is its own.

    What is left of a page is kept with the operation that asked for it, and ends with it.

    Args:
        dispatcher: Sends the requests of a session.
        keep_tools: Called with the names of all tools of a server where their list comes in portions:
            of such a list the SDK does not see that it is whole, and would never forget other tools.
    """

    def __init__(self, dispatcher: Any, keep_tools: Callable[[Set[str]], None]) -> None:
        self._dispatcher = dispatcher
        self._keep_tools = keep_tools

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dispatcher, name)

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: Any = None
    ) -> JsonObject:
        """Sends a request and returns its result, of a long page of a list the next portion."""
        trace = current_trace.get()
        cursor = (params or {}).get("cursor")
        if trace is not None and is_portion(cursor):
            # Others have their turn between two portions.
            await asyncio.sleep(0)
            page = trace.pages.pop(str(cursor))
        else:
            page = await self._dispatcher.send_raw_request(method, params, opts)
        entries = page.get(_FIELDS.get(method, ""))
        if trace is None or not isinstance(entries, list):
            return page
        count = _portion(entries)
        if count == len(entries):
            return page
        field = _FIELDS[method]
        if method == "tools/list" and cursor is None and page.get("nextCursor") is None:
            self._keep_tools(_names(entries))
        rest = f"{_CURSOR}{next(_numbers)}"
        trace.pages[rest] = {
            **{key: value for key, value in page.items() if key != "_meta"},
            field: entries[count:],
        }
        return {**page, field: entries[:count], "nextCursor": rest}


def _names(entries: list[Any]) -> set[str]:
    names = [entry.get("name") for entry in entries if isinstance(entry, dict)]
    return {name for name in names if isinstance(name, str)}


def _portion(entries: list[Any]) -> int:
    """Returns how many entries, at least one, are the next portion."""
    size = 0
    for count, entry in enumerate(entries[:PORTION_ENTRIES], start=1):
        size += len(json.dumps(entry))
        if size >= PORTION_BYTES:
            return count
    return min(len(entries), PORTION_ENTRIES)
