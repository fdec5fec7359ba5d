"""Tokens of connections: what token endpoints and storage may do wrong."""

from typing import Any

import pytest

from shared.background import Background
from shared.connections import Connections, ConnectionsConfig, ConnectionTimeout
from shared.connections.errors import NotAuthorized, ServerUnavailable
from shared.connections.oauth.renewal import OAuthTokens
from shared.connections.store import ConnectionStore
from shared.errors import StorageUnavailable
from shared.storage import owner_key
from tests.connections.authority import Authority
from tests.connections.authorizing import authorized, begin, expire, finish
from tests.connections.calls import add
from tests.connections.conftest import KEY, MakeConnections, McpWorld
from tests.connections.world import StateFolder


def fail_after(store: StateFolder, authority: Authority, grant: str, times: int) -> list[bool]:
    """Lets storage fail so many times once a token was given; returns the failures that are left."""
    left = [True] * times
    store.fails = lambda: authority.count(grant) > 0 and bool(left) and left.pop()
    return left


def source_of(store: StateFolder, client_id: str) -> OAuthTokens:
    """Returns what another instance has the token of alice's connection from."""
    config = ConnectionsConfig(allow_private=True, encryption_keys=[KEY])
    kept = ConnectionStore(store, config)
    return OAuthTokens(kept, config, Background(), owner_key("alice"), client_id)


async def test_refreshed_token_is_stored_though_storage_fails_for_a_moment(
    connections: Connections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    client_id = await authorized(connections, server, authority)
    expire(store)
    left = fail_after(store, authority, "refresh_token", 1)
    tokens = [await source_of(store, client_id).token() for _ in range(2)]
    assert tokens == [authority.valid] * 2
    assert (left, authority.count("refresh_token")) == ([], 1)


async def test_refreshed_token_is_used_while_storage_is_down_and_stored_when_it_is_back(
    make_connections: MakeConnections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    connections = make_connections()
    client_id = await authorized(connections, server, authority)
    expire(store)
    left = fail_after(store, authority, "refresh_token", 4)
    for _ in range(2):
        assert await add(connections, client_id) == {"result": 5}
    assert await add(make_connections(), client_id) == {"result": 5}
    assert (left, authority.count("refresh_token")) == ([], 1)


async def test_first_token_is_stored_though_storage_fails_for_a_moment(
    make_connections: MakeConnections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    made = await begin(make_connections(), server)
    left = fail_after(store, authority, "authorization_code", 1)
    assert (await finish(make_connections(), authority.agree(made.url))).status == "connected"
    assert left == []
    assert await add(make_connections(), made.record.id) == {"result": 5}


async def test_authorization_that_storage_never_took_is_over_at_the_end_of_its_time(
    connections: Connections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    made = await begin(connections, server)
    fail_after(store, authority, "authorization_code", 100)
    with pytest.raises(StorageUnavailable):
        await finish(connections, authority.agree(made.url))
    store.edit(pending={"expires_at": "2020-01-01T00:00:00Z"})
    assert (await connections.client("alice", made.record.id)).status == "authorization_failed"


@pytest.mark.parametrize("expires_in", [1e18, -1e18, "Infinity", "NaN", 0])
async def test_any_lifetime_of_a_token_is_taken(
    connections: Connections, server: McpWorld, authority: Authority, expires_in: Any
) -> None:
    authority.expires_in = expires_in
    client_id = await authorized(connections, server, authority)
    assert await add(connections, client_id) == {"result": 5}


@pytest.mark.parametrize("status", [302, 400, 403, 404, 429, 503])
async def test_token_endpoint_that_fails_ends_no_authorization(
    connections: Connections,
    server: McpWorld,
    authority: Authority,
    store: StateFolder,
    status: int,
) -> None:
    client_id = await authorized(connections, server, authority)
    expire(store)
    authority.broken_with = status
    with pytest.raises(ServerUnavailable, match=f"token endpoint failed with status {status}"):
        await add(connections, client_id)
    assert (await connections.client("alice", client_id)).status == "connected"
    authority.broken_with = None
    assert await add(connections, client_id) == {"result": 5}


async def test_token_endpoint_that_does_not_answer_in_time_says_so_and_ends_no_authorization(
    connections: Connections,
    server: McpWorld,
    authority: Authority,
    store: StateFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client_id = await authorized(connections, server, authority)
    expire(store)
    authority.is_stalled = True
    monkeypatch.setattr("shared.connections.oauth.tokens._TIMEOUT_SECONDS", 0.5)
    with pytest.raises(ConnectionTimeout, match="token endpoint did not answer in time"):
        await add(connections, client_id)
    monkeypatch.undo()
    authority.is_stalled = False
    assert await add(connections, client_id) == {"result": 5}


async def test_refusal_is_kept_without_asking_or_writing_again(
    make_connections: MakeConnections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    client_id = await authorized(make_connections(), server, authority)
    expire(store)
    authority.refuses = True
    writes = []
    for _ in range(3):
        with pytest.raises(NotAuthorized, match="Connect again"):
            await add(make_connections(), client_id)
        writes.append(store.writes)
    assert authority.count("refresh_token") == 1
    assert len(set(writes)) == 1
