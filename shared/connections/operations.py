"""What is done in a session, with plain data in and out; free of the SDK but for types."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.tools import ToolResult
from shared.tools.context import ReportProgress

if TYPE_CHECKING:
    from mcp import Client

JsonObject = dict[str, Any]
MAX_PAGES = 20
MAX_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server offers.

    Attributes:
        tools: Its tools.
        resources: Its resources.
        prompts: Its prompts.
    """

    tools: list[JsonObject]
    resources: list[JsonObject]
    prompts: list[JsonObject]


async def list_tools(client: "Client") -> list[JsonObject]:
    """Returns all tools, as the protocol writes them."""
    if client.server_capabilities.tools is None:
        return []
    return await _all_pages(lambda cursor: client.list_tools(cursor=cursor), "tools")


async def list_resources(client: "Client") -> list[JsonObject]:
    """Returns all resources, as the protocol writes them."""
    if client.server_capabilities.resources is None:
        return []
    return await _all_pages(lambda cursor: client.list_resources(cursor=cursor), "resources")


async def list_prompts(client: "Client") -> list[JsonObject]:
    """Returns all prompts, as the protocol writes them."""
    if client.server_capabilities.prompts is None:
        return []
    return await _all_pages(lambda cursor: client.list_prompts(cursor=cursor), "prompts")


async def list_all(client: "Client") -> Offer:
    """Returns all that a server offers."""
    return Offer(await list_tools(client), await list_resources(client), await list_prompts(client))


def reading_resource(uri: str) -> Callable[["Client"], Awaitable[JsonObject]]:
    """Returns the operation that reads a resource."""

    async def operate(client: "Client") -> JsonObject:
        return _plain(await client.read_resource(uri))

    return operate


def getting_prompt(
    name: str, arguments: dict[str, str]
) -> Callable[["Client"], Awaitable[JsonObject]]:
    """Returns the operation that gets a prompt."""

    async def operate(client: "Client") -> JsonObject:
        return _plain(await client.get_prompt(name, arguments))

    return operate


def calling_tool(
    name: str, arguments: JsonObject, report_progress: ReportProgress
) -> Callable[["Client"], Awaitable[JsonObject]]:
    """Returns the operation that calls a tool."""

    async def operate(client: "Client") -> JsonObject:
        async def report(progress: float, total: float | None, message: str | None) -> None:
            await report_progress(progress, total, message)

        return _plain(await client.call_tool(name, arguments, progress_callback=report))

    return operate


def as_tool_result(result: JsonObject) -> ToolResult:
    """Returns a protocol's result as the agent takes it."""
    structured = result.get("structuredContent")
    return ToolResult(
        text="\n".join(_as_text(part) for part in result.get("content", [])),
        structured=structured if isinstance(structured, dict) else None,
        is_error=bool(result.get("isError")),
    )


def _as_text(part: JsonObject) -> str:
    kind = part.get("type")
    if kind == "text":
        return str(part["text"])
    if kind == "resource" and "text" in part["resource"]:
        return str(part["resource"]["text"])
    if kind == "resource_link":
        return f"[{part.get('name', 'resource')}: {part.get('uri')}]"
    return f"[{kind} {part.get('mimeType', '')}]"


async def _all_pages(fetch: Callable[[str | None], Awaitable[Any]], field: str) -> list[JsonObject]:
    items: list[JsonObject] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await fetch(cursor)
        items += [_plain(item) for item in getattr(page, field)]
        following = page.next_cursor
        # A server that names the same page again would never end.
        if following is None or following == cursor or len(items) >= MAX_ITEMS:
            break
        cursor = following
    return items[:MAX_ITEMS]


def _plain(model: Any) -> JsonObject:
    plain: JsonObject = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return plain
