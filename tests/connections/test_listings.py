"""What servers list: page by page, as it is now, and as far as it is taken."""

import pytest

from shared.connections import Connections
from tests.connections.calls import connect
from tests.connections.conftest import MakeConnections, McpWorld
from tests.connections.world import make_paging_server, make_server

MIB = 1024 * 1024


def serve_pages(
    server: McpWorld,
    pages: int,
    page_size: int,
    description: str = "A tool.",
    starts_over: bool = False,
) -> None:
    """Has the server list tools page by page."""
    paging = make_paging_server(pages, page_size, description, starts_over)
    server.make_app = paging.streamable_http_app
    server.running.restart()


@pytest.mark.parametrize("is_old", [False, True])
async def test_many_short_pages_are_all_listed(
    connections: Connections, server: McpWorld, is_old: bool
) -> None:
    server.gate.is_old = is_old
    serve_pages(server, 30, 10)
    offer = (await connect(connections, server.url)).offer
    assert (len(offer.tools), offer.is_cut) == (300, False)
    assert (offer.resources, offer.prompts) == ([], [])


@pytest.mark.parametrize(("pages", "is_cut"), [(1, False), (2, True)])
async def test_list_ends_at_a_thousand_and_says_so(
    connections: Connections, server: McpWorld, pages: int, is_cut: bool
) -> None:
    serve_pages(server, pages, 1000)
    offer = (await connect(connections, server.url)).offer
    assert (len(offer.tools), offer.is_cut) == (1000, is_cut)


async def test_list_ends_where_it_is_too_long_for_memory(
    connections: Connections, server: McpWorld
) -> None:
    serve_pages(server, 20, 1, "x" * 3 * MIB)
    offer = (await connect(connections, server.url)).offer
    assert (len(offer.tools), offer.is_cut) == (3, True)


async def test_list_that_starts_over_ends(connections: Connections, server: McpWorld) -> None:
    serve_pages(server, 3, 1, starts_over=True)
    offer = (await connect(connections, server.url)).offer
    assert {tool["name"] for tool in offer.tools} == {"tool_0_0", "tool_1_0", "tool_2_0"}
    assert not offer.is_cut


async def test_what_a_server_offers_since_it_was_connected_is_listed(
    make_connections: MakeConnections, server: McpWorld
) -> None:
    serve_pages(server, 1, 1)
    connections = make_connections()
    client_id = (await connect(connections, server.url)).record.id
    assert await connections.list_prompts("alice", client_id) == []
    server.make_app = lambda: make_server().streamable_http_app()
    server.running.restart()
    for instance in (connections, make_connections()):
        prompts = await instance.list_prompts("alice", client_id)
        assert [prompt["name"] for prompt in prompts] == ["review"]
