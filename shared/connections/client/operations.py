"""The operations of sessions: lists, reads and calls, with plain JSON in and out."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from shared.connections.client.answers import current_trace
from shared.connections.client.incoming import CHANGED, IS_CUT, LEFT_OUT, MAX_ITEMS, MAX_LIST_BYTES
from shared.connections.client.portions import is_portion
from shared.connections.client.sessions import Operation
from shared.connections.errors import ServerRefused
from shared.context import ReportProgress
from shared.errors import cut_text
from shared.tools import ToolResult

if TYPE_CHECKING:
    from mcp import Client

JsonObject = dict[str, Any]
MAX_PAGES = 100
MAX_RECEIVED_BYTES = 8 * 1024 * 1024
"""Bytes received of a server after which no further page is asked for."""

MAX_ERROR_CHARS = 4000
"""Maximum characters of a tool's error where it is an error of ours."""

MAX_NOTES = 100
MAX_COMPLETION_CHARS = 2048
"""Maximum characters of a completion's value; of longer ones a part would be another value."""

Reference = tuple[Literal["prompt", "resource"], str]
"""A prompt by its name, or a template of resources by its URI."""

_ENTRIES_BETWEEN_YIELDS = 100


class Listing(list[JsonObject]):
    """What a server lists, as far as it is taken.

    Attributes:
        is_cut: Whether the server has more.
        size: Bytes of its entries as JSON.
        left_out: Entries that could not be taken, a sentence for each.
        changed: Entries that could not be taken as they are, a sentence for each.
    """

    is_cut = False
    size = 0

    def __init__(self, items: Iterable[JsonObject] = ()) -> None:
        super().__init__(items)
        self.left_out: list[str] = []
        self.changed: list[str] = []


@dataclass(frozen=True, slots=True)
class Completion:
    """How an argument may go on.

    Attributes:
        values: Values, the best first; at most 100, as the protocol has it.
        total: How many there are in all; None where the server does not say.
        has_more: Whether there are more than these; None where the server does not say.
    """

    values: Sequence[str]
    total: int | None = None
    has_more: bool | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server offers.

    Attributes:
        tools: Its tools.
        resources: Its resources.
        prompts: Its prompts.
    """

    tools: Listing
    resources: Listing
    prompts: Listing

    @property
    def is_cut(self) -> bool:
        """Whether the server has more."""
        return self.tools.is_cut or self.resources.is_cut or self.prompts.is_cut


async def list_tools(client: "Client") -> Listing:
    """Returns all tools, as the protocol writes them."""
    return await _list(client, "tools", "tools", client.list_tools)


async def list_resources(client: "Client") -> Listing:
    """Returns all resources, as the protocol writes them."""
    return await _list(client, "resources", "resources", client.list_resources)


async def list_templates(client: "Client") -> Listing:
    """Returns all templates of resources, as the protocol writes them; many servers know none."""
    from mcp import MCPError
    from mcp_types import METHOD_NOT_FOUND

    fetch = client.list_resource_templates
    try:
        return await _list(client, "resources", "resourceTemplates", fetch)
    except MCPError as error:
        if error.code != METHOD_NOT_FOUND:
            raise
        return Listing()


async def list_prompts(client: "Client") -> Listing:
    """Returns all prompts, as the protocol writes them."""
    return await _list(client, "prompts", "prompts", client.list_prompts)


async def list_all(client: "Client") -> Offer:
    """Returns all that a server offers."""
    return Offer(await list_tools(client), await list_resources(client), await list_prompts(client))


def reading_resource(uri: str) -> Operation[JsonObject]:
    """Returns the operation that reads a resource."""

    async def operate(client: "Client") -> JsonObject:
        return _plain(await client.read_resource(uri))

    return operate


def getting_prompt(name: str, arguments: dict[str, str]) -> Operation[JsonObject]:
    """Returns the operation that gets a prompt."""

    async def operate(client: "Client") -> JsonObject:
        return _plain(await client.get_prompt(name, arguments))

    return operate


def completing(
    reference: Reference, argument: dict[str, str], given: dict[str, str]
) -> Operation[Completion]:
    """Returns the operation that completes an argument of a prompt or of a template of resources.

    Args:
        reference: What has the argument, by the server's own name.
        argument: Its ``name`` and, as ``value``, what has been written of it.
        given: Other arguments, which are known already.
    """

    async def operate(client: "Client") -> Completion:
        from mcp import MCPError
        from mcp_types import METHOD_NOT_FOUND, PromptReference, ResourceTemplateReference

        is_legacy = client.session.discover_result is None
        if is_legacy and client.server_capabilities.completions is None:
            return Completion([])
        kind, name = reference
        is_prompt = kind == "prompt"
        ref = PromptReference(name=name) if is_prompt else ResourceTemplateReference(uri=name)
        try:
            result = await client.complete(ref, argument, given or None)
        except MCPError as error:
            if error.code != METHOD_NOT_FOUND:
                raise
            return Completion([])
        made = result.completion
        values = [each for each in made.values if len(each) <= MAX_COMPLETION_CHARS]
        return Completion(values, made.total, made.has_more)

    return operate


def calling_tool(
    name: str, arguments: JsonObject, report_progress: ReportProgress
) -> Operation[JsonObject]:
    """Returns the operation that calls a tool."""

    async def operate(client: "Client") -> JsonObject:
        async def report(progress: float, total: float | None, message: str | None) -> None:
            await report_progress(progress, total, message)

        return _plain(await client.call_tool(name, arguments, progress_callback=report))

    return operate


def as_tool_result(result: JsonObject, prefix: str) -> ToolResult:
    """Returns a protocol's result as models and clients take it.

    Args:
        result: The result.
        prefix: What the names of the connection's tools begin with.
    """
    structured = result.get("structuredContent")
    text = "\n".join(part_as_text(part) for part in result.get("content", []))
    is_error = bool(result.get("isError"))
    return ToolResult(
        text=text,
        structured=structured if isinstance(structured, dict) else None,
        is_error=is_error,
        content=result.get("content", []),
        connection=prefix,
        error=ServerRefused(cut_text(text, MAX_ERROR_CHARS) or "The tool failed.")
        if is_error
        else None,
    )


def part_as_text(part: JsonObject) -> str:
    """Returns a part of a result as text: its own, or what it is in brackets."""
    kind = part.get("type")
    if kind == "text":
        return str(part["text"])
    if kind == "resource":
        resource = part["resource"]
        return str(resource.get("text", f"[resource: {resource.get('uri')}]"))
    if kind == "resource_link":
        return f"[{part.get('name', 'resource')}: {part.get('uri')}]"
    return f"[{kind} {part.get('mimeType', '')}]"


async def _list(
    client: "Client", capability: str, field: str, fetch: Callable[..., Awaitable[Any]]
) -> Listing:
    if getattr(client.server_capabilities, capability) is not None:
        return await _all_pages(fetch, field)
    if client.session.discover_result is None:
        return Listing()
    # Sessions of 2026-07-28 outlive restarts of the server, so its abilities may have changed since.
    from mcp import MCPError
    from mcp_types import METHOD_NOT_FOUND

    try:
        return await _all_pages(fetch, field)
    except MCPError as error:
        if error.code != METHOD_NOT_FOUND:
            raise
        return Listing()


async def _all_pages(fetch: Callable[..., Awaitable[Any]], field: str) -> Listing:
    listing = Listing()
    size = pages = 0
    seen: set[str] = set()
    cursor: str | None = None
    while True:
        page = _plain(await fetch(cursor=cursor))
        meta = page.get("_meta") or {}
        listing.left_out += meta.get(LEFT_OUT, ())
        listing.changed += meta.get(CHANGED, ())
        listing.is_cut |= bool(meta.get(IS_CUT))
        for entry in page[field]:
            size += len(json.dumps(entry, ensure_ascii=False).encode())
            if size > MAX_LIST_BYTES or len(listing) >= MAX_ITEMS:
                listing.is_cut = True
                break
            listing.append(entry)
            listing.size = size
            if len(listing) % _ENTRIES_BETWEEN_YIELDS == 0:
                await asyncio.sleep(0)
        cursor = page.get("nextCursor")
        pages += not is_portion(cursor)
        # A server that names the same page again would never end.
        if cursor is None or cursor in seen:
            break
        is_full = len(listing) >= MAX_ITEMS or size >= MAX_LIST_BYTES
        if is_full or pages >= MAX_PAGES or _received() >= MAX_RECEIVED_BYTES:
            listing.is_cut = True
            break
        seen.add(cursor)
    del listing.left_out[MAX_NOTES:], listing.changed[MAX_NOTES:]
    return listing


def _received() -> int:
    trace = current_trace.get()
    return trace.received if trace else 0


def _plain(model: Any) -> JsonObject:
    plain: JsonObject = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return plain
