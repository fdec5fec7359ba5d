"""What becomes of connections that are made: their number, their leftovers, and what is kept of them."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from shared.background import Background
from shared.connections import (
    AuthorizationNeeded,
    Connections,
    ConnectionsConfig,
    ConnectionTimeout,
    OperatorServer,
)
from shared.connections.client.target import FixedToken
from shared.connections.oauth.flow import OAuthFlow
from shared.connections.records import OAuthClient, in_seconds, new_id
from shared.connections.requests import ConnectRequest
from shared.connections.store import ConnectionStore
from shared.errors import InvalidRequest, NotConfigured, NotFound, StorageUnavailable
from shared.storage import owner_key
from tests.connections.authority import CLIENT, CLIENT_SECRET, Authority, query_of
from tests.connections.authorizing import CALLBACK, begin
from tests.connections.calls import add, connect
from tests.connections.conftest import KEY, MakeConnections, McpWorld
from tests.connections.world import SECRET, StateFolder

MACHINE: dict[str, Any] = {
    "auth_type": "oauth",
    "oauth_grant_type": "client_credentials",
    "oauth_client_id": CLIENT,
    "oauth_client_secret": SecretStr(CLIENT_SECRET),
}


async def test_too_many_connections_are_refused(
    connections: Connections, server: McpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.connections.connecting.MAX_CONNECTIONS", 2)
    for _ in range(2):
        await connect(connections, server.url)
    with pytest.raises(InvalidRequest, match="2 connections"):
        await connect(connections, server.url)
    await connect(connections, server.url, "bob")


async def test_too_many_connections_at_the_same_time_are_refused(
    make_connections: MakeConnections, server: McpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.connections.connecting.MAX_CONNECTIONS", 2)
    instances = [make_connections() for _ in range(3)]
    made = await asyncio.gather(
        *(connect(instance, server.url) for instance in instances for _ in range(2)),
        return_exceptions=True,
    )
    refused = [one for one in made if isinstance(one, InvalidRequest)]
    assert len(refused) == 4
    assert len(await instances[0].clients("alice")) == 2


async def test_authorization_that_nobody_finished_is_over_and_gone_with_the_next_connection(
    connections: Connections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    made = await begin(connections, server)
    assert made.record.pending
    store.edit(
        pending=made.record.pending.model_dump(mode="json") | {"expires_at": "2020-01-01T00:00Z"}
    )
    assert (await connections.client("alice", made.record.id)).status == "authorization_failed"
    with pytest.raises(Exception, match="Connect again"):
        await add(connections, made.record.id)
    again = await begin(connections, server)
    assert [record.id for record in await connections.clients("alice")] == [again.record.id]


async def test_connection_whose_instance_died_is_gone_with_the_next(
    make_connections: MakeConnections, server: McpWorld, store: StateFolder
) -> None:
    died = (await connect(make_connections(), server.url)).record.id
    store.edit(status="connecting")
    young = (await connect(make_connections(), server.url)).record.id
    assert len(await make_connections().clients("alice")) == 2
    store.edit(status="connecting", created_at=in_seconds(-601).isoformat())
    last = (await connect(make_connections(), server.url)).record.id
    assert [record.id for record in await make_connections().clients("alice")] == [last]
    assert len({died, young, last}) == 3


async def test_nothing_is_left_of_a_machine_whose_storage_fails(
    connections: Connections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    store.fails = lambda: True
    request = ConnectRequest(mcp_url=server.url, **MACHINE)
    with pytest.raises(StorageUnavailable):
        await connections.connect("alice", request, CALLBACK)
    assert (store.objects, connections.live_sessions) == ({}, 0)


@pytest.mark.parametrize("fields", [{}, MACHINE])
async def test_authorization_server_that_never_answers_costs_no_more_than_the_timeout(
    connections: Connections,
    server: McpWorld,
    authority: Authority,
    store: StateFolder,
    fields: dict[str, Any],
) -> None:
    authority.is_stalled = True
    authority.stalls_metadata = not fields
    request = ConnectRequest(mcp_url=server.url, timeout=1, **{"auth_type": "oauth", **fields})
    with pytest.raises(ConnectionTimeout, match="within 1 s"):
        await connections.connect("alice", request, CALLBACK)
    assert store.objects == {}


async def test_query_of_the_url_is_sent_stored_encrypted_and_never_shown(
    make_connections: MakeConnections, server: McpWorld, store: StateFolder
) -> None:
    url = f"{server.url}?apiKey={SECRET}&x=1"
    connections = make_connections()
    connected = await connect(connections, url)
    assert connected.record.mcp_url == f"{server.url}?…"
    assert await add(make_connections(), connected.record.id) == {"result": 5}
    assert server.gate.queries == {f"apiKey={SECRET}&x=1"}
    shown = await connections.clients("alice")
    assert SECRET not in store.text + repr(shown) + repr(connected)
    with pytest.raises(NotConfigured, match="CONNECTIONS_ENCRYPTION_KEY"):
        await connect(make_connections(ConnectionsConfig(allow_private=True)), url)


async def test_query_of_the_url_is_not_told_to_the_authorization_server(
    connections: Connections, authority: Authority, store: StateFolder
) -> None:
    authority.knows_resources = False
    url = f"{authority.origin}/mcp"
    request = ConnectRequest(mcp_url=f"{url}?apiKey={SECRET}", auth_type="oauth")
    made = await connections.connect("alice", request, CALLBACK)
    assert isinstance(made, AuthorizationNeeded)
    assert query_of(made.url)["resource"] == url
    assert SECRET not in made.url + store.text


async def test_operators_servers_can_be_used_but_neither_shown_nor_ended(
    make_connections: MakeConnections, server: McpWorld
) -> None:
    config = ConnectionsConfig(
        allow_private=True, operator_servers={"sys": OperatorServer(server.url)}
    )
    connections = make_connections(config)
    assert await add(connections, "sys") == {"result": 5}
    assert await connections.clients("alice") == []
    for use in (connections.client("alice", "sys"), connections.disconnect("alice", "sys")):
        with pytest.raises(NotFound, match="'sys' is the operator's, from MCP_SERVERS"):
            await use


@pytest.mark.parametrize("instance", [0, 1])
async def test_last_activity_is_shown_here_at_once_and_elsewhere_within_a_minute(
    make_connections: MakeConnections, server: McpWorld, store: StateFolder, instance: int
) -> None:
    instances = [make_connections(), make_connections()]
    client_id = (await connect(instances[0], server.url)).record.id
    made_at = in_seconds(-3600 if instance else -30)
    store.edit(created_at=made_at.isoformat(), last_activity=made_at.isoformat())
    assert await add(instances[0], client_id) == {"result": 5}
    (listed,) = await instances[instance].clients("alice")
    shown = await instances[instance].client("alice", client_id)
    assert listed.last_activity == shown.last_activity
    assert shown.last_activity > made_at


async def test_a_use_that_storage_does_not_take_note_of_is_a_use(
    connections: Connections, server: McpWorld, store: StateFolder
) -> None:
    client_id = (await connect(connections, server.url)).record.id
    store.edit(last_activity="2020-01-01T00:00:00Z")
    store.fails = lambda: True
    assert await add(connections, client_id) == {"result": 5}


async def test_secrets_have_no_place_in_representations(store: StateFolder) -> None:
    request = ConnectRequest.model_validate(
        {"mcp_url": "https://a.example", "auth_type": "oauth", "oauth_client_secret": SECRET}
    )
    config = ConnectionsConfig(encryption_keys=[KEY])
    flow = OAuthFlow(ConnectionStore(store, config), config, Background())
    oauth = OAuthClient(
        grant="authorization_code", client_id="x", token_endpoint="https://a.example"
    )
    authorization = await flow.begin(owner_key("alice"), new_id(), oauth)
    assert SECRET not in repr((request, FixedToken(SECRET)))
    assert authorization.verifier not in repr(authorization)
