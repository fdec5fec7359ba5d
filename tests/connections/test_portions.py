"""Long lists are handed to the MCP SDK in portions: it holds the event loop while it checks one."""

import json
import random
import sys
from typing import Any

import pytest

from shared.connections import Connections
from shared.connections.client.answers import HttpTrace, check_values, current_trace
from shared.connections.client.incoming import MAX_ITEMS
from shared.connections.client.portions import PORTION_BYTES, PORTION_ENTRIES, Portions
from shared.connections.errors import ServerAnswerTooLarge, ServerUnavailable
from tests.connections.calls import connect
from tests.connections.hostile import TOOL, results, serving

JsonObject = dict[str, Any]


def tools(count: int, description: str = "A tool.", first: int = 0) -> list[JsonObject]:
    return [
        {**TOOL, "name": f"t{number}", "description": description}
        for number in range(first, first + count)
    ]


class Pages:
    """A dispatcher of the SDK's, over a server that has these pages.

    Attributes:
        asked: The cursors that the server was asked for.
    """

    def __init__(self, *pages: list[JsonObject]) -> None:
        self._pages = pages
        self.asked: list[str | None] = []

    async def send_raw_request(self, method: str, params: JsonObject, opts: Any) -> JsonObject:
        cursor = params.get("cursor")
        self.asked.append(cursor)
        index = int(cursor or 0)
        page: JsonObject = {"tools": self._pages[index], "ttlMs": 5, "_meta": {"page": index}}
        return page if index + 1 == len(self._pages) else page | {"nextCursor": str(index + 1)}


async def read(portions: Portions) -> list[JsonObject]:
    """All that the SDK gets, page by page."""
    cursor: str | None = None
    pages: list[JsonObject] = []
    while True:
        params = {} if cursor is None else {"cursor": cursor}
        pages.append(await portions.send_raw_request("tools/list", params))
        cursor = pages[-1].get("nextCursor")
        if cursor is None:
            return pages


@pytest.mark.parametrize("length", [10, 700, PORTION_BYTES + 1])
async def test_page_comes_in_portions_of_few_entries_and_bytes(length: int) -> None:
    server = Pages(tools(250, "x" * length), tools(150, "x" * length, first=250), tools(1))
    current_trace.set(trace := HttpTrace())
    kept: list[object] = []
    pages = await read(Portions(server, kept.append))
    assert [entry for page in pages for entry in page["tools"]] == [
        *tools(400, "x" * length),
        *tools(1),
    ]
    assert server.asked == [None, "1", "2"]
    for page in pages:
        assert 0 < len(page["tools"]) <= PORTION_ENTRIES
        assert len(json.dumps(page["tools"][:-1])) <= 1.1 * PORTION_BYTES
        assert page["ttlMs"] == 5
    # What a server says beside a page is said once.
    assert [page["_meta"] for page in pages if "_meta" in page] == [{"page": n} for n in range(3)]
    assert trace.pages == {}
    # None of the server's pages is all that it has.
    assert kept == []


async def test_what_is_no_list_comes_as_it_is() -> None:
    class Server:
        async def send_raw_request(self, method: str, params: Any, opts: Any) -> JsonObject:
            return {"tools": "none"} if method == "tools/list" else {"content": [{}] * 1000}

    current_trace.set(HttpTrace())
    kept: list[object] = []
    portions = Portions(Server(), kept.append)
    assert await portions.send_raw_request("tools/list", None) == {"tools": "none"}
    called = await portions.send_raw_request("tools/call", {"name": "tool"})
    assert len(called["content"]) == 1000
    assert kept == []


@pytest.mark.parametrize("count", [3, 150])
async def test_tools_that_a_server_lists_no_more_lose_what_the_sdk_knew_of_them(
    connections: Connections, count: int
) -> None:
    argument = {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": "A"}}}
    first = 0

    def listed(message: JsonObject) -> JsonObject:
        return {"tools": [each | {"inputSchema": argument} for each in tools(count, first=first)]}

    with serving(results(tools_list=listed)) as (hostile, url):
        client_id = (await connect(connections, url)).record.id
        for offset in (0, 1):
            first = offset
            await connections.list_tools("alice", client_id)
            for number in (0, 1):
                await connections.call_tool("alice", client_id, f"t{number}", {"a": "told"})
    sent = [headers.get(b"mcp-param-a") for headers in hostile.headers_of_calls]
    assert sent == [b"told", b"told", None, b"told"]


@pytest.mark.parametrize("length", [10, 900])
async def test_long_list_is_read_whole_and_in_order(connections: Connections, length: int) -> None:
    listed = tools(MAX_ITEMS, "x" * length)
    with serving(results(tools_list={"tools": listed})) as (hostile, url):
        offer = (await connect(connections, url)).offer
    assert [entry["name"] for entry in offer.tools] == [entry["name"] for entry in listed]
    assert not offer.is_cut
    assert hostile.seen.count(("mcp", "tools/list")) == 1


async def test_pages_of_a_server_follow_each_other_behind_their_portions(
    connections: Connections,
) -> None:
    def page(message: JsonObject) -> JsonObject:
        number = int(message["params"].get("cursor") or 0)
        listed: JsonObject = {"tools": tools(300, first=300 * number)}
        return listed if number == 2 else listed | {"nextCursor": str(number + 1)}

    with serving(results(tools_list=page)) as (hostile, url):
        offer = (await connect(connections, url)).offer
    assert [entry["name"] for entry in offer.tools] == [f"t{number}" for number in range(900)]
    assert hostile.seen.count(("mcp", "tools/list")) == 3


async def test_entry_far_behind_is_checked_as_the_first_is(connections: Connections) -> None:
    listed = tools(900)
    listed[850] = {**listed[850], "icons": "none"}
    with (
        serving(results(tools_list={"tools": listed})) as (_, url),
        pytest.raises(ServerUnavailable, match="does not follow the protocol"),
    ):
        await connect(connections, url)
    # The protocol has clients leave out tools whose arguments name a header that cannot be.
    argument = {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": "no no"}}}
    listed[850] = {**TOOL, "name": "t850", "inputSchema": argument}
    with serving(results(tools_list={"tools": listed})) as (_, url):
        offer = (await connect(connections, url)).offer
    assert {f"t{number}" for number in range(900)} - {each["name"] for each in offer.tools} == {
        "t850"
    }


@pytest.mark.parametrize("seed", range(5))
async def test_values_outside_of_long_texts_are_counted_and_no_others(seed: int) -> None:
    characters = random.Random(seed).choices('\\\\",[{a', k=600_000)  # noqa: S311
    text = "".join(characters)
    body = json.dumps([text, text]).encode()
    await check_values(body, 2)
    with pytest.raises(ServerAnswerTooLarge):
        await check_values(body, 1)


async def test_answer_that_is_given_up_on_leaves_no_generator_to_the_loop() -> None:
    begun: list[Any] = []
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=begun.append)
    try:
        with pytest.raises(ServerAnswerTooLarge):
            await check_values(b'["' + b'","' * 500_000 + b'"]')
    finally:
        sys.set_asyncgen_hooks(*hooks)
    assert [each for each in begun if each.ag_frame is not None] == []
