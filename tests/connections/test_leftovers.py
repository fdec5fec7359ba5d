"""What housekeeping finds of connections that nobody finished to make."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from shared.connections import Connections, ConnectionsConfig
from shared.connections.records import in_seconds
from shared.errors import GatewayError, InvalidRequest
from shared.storage import WorkItem, WorkItems
from tests.connections.authority import Authority
from tests.connections.authorizing import authorized, begin, park
from tests.connections.calls import connect
from tests.connections.conftest import KEY, MakeConnections, McpWorld
from tests.connections.world import StateFolder


async def due(store: StateFolder, later: timedelta) -> list[WorkItem]:
    """Returns the work that is due after some time."""
    items = WorkItems(store)
    page = await items.due("connection", datetime.now(UTC) + later, 100)
    found = [await items.read(name) for name in page.names]
    return [item for item in found if item]


async def test_abandoned_authorization_is_found_when_its_time_is_over(
    connections: Connections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    await begin(connections, server)
    assert await due(store, timedelta(minutes=9)) == []
    [item] = await due(store, timedelta(minutes=11))
    assert item.kind == "connection"
    assert await connections.remove_abandoned(item.owner, item.id) is None
    store.edit(pending={"expires_at": in_seconds(-1).isoformat()})
    assert await connections.remove_abandoned(item.owner, item.id) is True
    assert store.connections == {}
    assert await connections.remove_abandoned(item.owner, item.id) is False


async def test_authorization_that_its_owner_gives_up_leaves_no_work(
    connections: Connections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    begun = await begin(connections, server)
    back = authority.agree((parked := await begin(connections, server)).url)
    await park(connections, back)
    for made in (begun, parked):
        await connections.disconnect("alice", made.record.id)
    assert await due(store, timedelta(days=1)) == []
    assert store.connections == {}


async def test_connection_that_was_authorized_leaves_no_work_once_it_is_ended(
    connections: Connections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    await connections.disconnect("alice", await authorized(connections, server, authority))
    assert await due(store, timedelta(days=1)) == []


async def test_abandoned_connection_that_makes_room_leaves_no_work(
    connections: Connections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    await begin(connections, server)
    store.edit(pending={"expires_at": in_seconds(-1).isoformat()})
    made = await begin(connections, server)
    assert len(store.connections) == 1
    assert [item.id for item in await due(store, timedelta(days=1))] == [made.record.id]


async def test_connection_that_was_made_leaves_no_work(
    connections: Connections, server: McpWorld, store: StateFolder
) -> None:
    await connect(connections, server.url)
    assert len(store.connections) == 1
    assert await due(store, timedelta(days=1)) == []


async def test_connection_that_could_not_be_made_leaves_no_work(
    connections: Connections, store: StateFolder, unused_port: int
) -> None:
    with pytest.raises(GatewayError):
        await connect(connections, f"http://127.0.0.1:{unused_port}/mcp")
    assert store.objects == {}


@pytest.mark.parametrize(
    "url",
    [
        "http://LOCALHOST:{port}/mcp",
        "http://127.0.0.1:{port}/mcp",
        "http://127.1:{port}/mcp",
        "http://[::ffff:127.0.0.1]:{port}/mcp",
        "https://api.example.com/mcp",
        "https://API.example.com.:443/mcp",
        "http://api.example.com/mcp",
        "https://api\u3002example.com/mcp",
        "https://app.azurewebsites.net/mcp",
    ],
)
async def test_nobody_connects_to_this_app_itself_by_any_of_its_names(
    make_connections: MakeConnections, server: McpWorld, url: str
) -> None:
    port = urlsplit(server.url).port
    own_urls = (
        "https://api.example.com",
        "https://app.azurewebsites.net",
        f"http://localhost:{port}",
    )
    config = ConnectionsConfig(allow_private=True, encryption_keys=[KEY], own_urls=own_urls)
    with pytest.raises(InvalidRequest, match="address of this app"):
        await connect(make_connections(config), url.format(port=port))


async def test_other_ports_of_this_apps_host_are_other_servers(
    make_connections: MakeConnections, server: McpWorld
) -> None:
    own_urls = ("http://localhost:7071", "https://127.0.0.1")
    config = ConnectionsConfig(allow_private=True, encryption_keys=[KEY], own_urls=own_urls)
    await connect(make_connections(config), server.url)
