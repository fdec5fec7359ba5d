"""Which tools of connections are selected, and what is held meanwhile."""

import gc
import itertools
import weakref
from typing import Any

import pytest

from shared.auth import Principal
from shared.connections import Connections, ConnectionsConfig, Listing, open_remote_tools
from shared.connections.sources import Source
from shared.connections.tool_budget import MAX_CALL_BYTES, MAX_CONNECTION_BYTES, ToolBudget
from shared.context import CallContext
from shared.deadline import Deadline
from shared.errors import InvalidRequest
from tests.connections.calls import connect
from tests.connections.conftest import KEY, McpWorld
from tests.connections.world import StateFolder

SOURCES = [Source(f"id-{number}", f"name {number}", f"c{number}") for number in range(4)]


def tool(name: str, size: int = 0) -> dict[str, Any]:
    return {"name": name, "description": "x" * size, "inputSchema": {"type": "object"}}


def test_the_first_tool_that_does_not_fit_ends_a_list() -> None:
    selection = ToolBudget(SOURCES, None, None)
    tools = [tool("small"), tool("large", MAX_CONNECTION_BYTES), tool("later")]
    selection.add(SOURCES[0], Listing(tools))
    assert list(selection.tools()) == ["c0__small"]
    (sentence,) = selection.left_out(SOURCES[0])
    assert sentence.startswith("Of its 3 tools 2 are left out: large, later.")


def test_the_order_in_which_lists_come_in_makes_no_difference() -> None:
    sizes = (150_000, 190_000, 90_000, 10)
    listings = [Listing([tool("a", size // 2), tool("b", size // 2)]) for size in sizes]
    outcomes = []
    for order in itertools.permutations(range(4)):
        selection = ToolBudget(SOURCES, None, None)
        for index in order:
            selection.add(SOURCES[index], listings[index])
        outcomes.append((list(selection.tools()), [selection.left_out(each) for each in SOURCES]))
    assert outcomes[0][0] == ["c0__a", "c0__b", "c1__a", "c1__b", "c2__a"]
    assert all(outcome == outcomes[0] for outcome in outcomes)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_limit_counts_the_tools_of_the_first_connections_first(order: tuple[int, int]) -> None:
    selection = ToolBudget(SOURCES, None, 3)
    for index in order:
        selection.add(SOURCES[index], Listing([tool("a"), tool("b")]))
    assert list(selection.tools()) == ["c0__a", "c0__b", "c1__a"]
    assert [len(selection.left_out(SOURCES[index])) for index in (0, 1)] == [0, 1]


def test_named_tools_are_found_behind_others_that_would_not_fit() -> None:
    listing = Listing([tool("large", MAX_CONNECTION_BYTES), tool("wanted")])
    selection = ToolBudget(SOURCES, ["c0__wanted"], None)
    selection.add(SOURCES[0], listing)
    assert (list(selection.tools()), selection.left_out(SOURCES[0])) == (["c0__wanted"], [])
    refusing = ToolBudget(SOURCES, ["c0__large"], None)
    with pytest.raises(InvalidRequest, match="Name fewer"):
        refusing.add(SOURCES[0], listing)


def test_named_tools_of_several_connections_share_the_budget() -> None:
    names = [f"c{number}__a" for number in range(3)]
    selection = ToolBudget(SOURCES, names, None)
    for source in SOURCES[:2]:
        selection.add(source, Listing([tool("a", MAX_CALL_BYTES * 2 // 5)]))
    with pytest.raises(InvalidRequest, match="Name fewer"):
        selection.add(SOURCES[2], Listing([tool("a", MAX_CALL_BYTES * 2 // 5)]))


class Watched(Connections):
    """Connections that count how many lists are held when another one comes in."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lists: list[weakref.ref[Listing]] = []
        self.held: list[int] = []

    async def cached(self, *args: Any, **options: Any) -> Listing:
        gc.collect()
        listing = await super().cached(*args, **options)
        self._lists.append(weakref.ref(listing))
        self.held.append(sum(each() is not None for each in self._lists))
        return listing


@pytest.mark.parametrize("named", [None, ["c0__add"]])
async def test_lists_of_many_connections_are_not_held_together(
    connections: Connections,
    server: McpWorld,
    deadline: Deadline,
    store: StateFolder,
    named: list[str] | None,
    request: pytest.FixtureRequest,
) -> None:
    for number in range(12):
        await connect(connections, server.url, name=f"c{number}")
    # What other tests have left is not looked through for each list, while servers wait for answers.
    gc.freeze()
    request.addfinalizer(gc.unfreeze)
    config = ConnectionsConfig(allow_private=True, encryption_keys=[KEY])
    watched = Watched(config, store, max_known_bytes=0)
    context = CallContext(Principal("alice", frozenset({"chat"})), deadline)
    toolset = await open_remote_tools(watched, context, named=named)
    await watched.aclose()
    assert "c0__add" in [spec.name for spec in await toolset.list(context)]
    assert len(watched.held) == 12
    # The one that comes in, and the one before it, which is known until then.
    assert max(watched.held) <= 3
