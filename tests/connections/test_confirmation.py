"""An authorization belongs to whoever started it, whosever browser comes back."""

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest
from pydantic import SecretStr
from pytest_mock import MockerFixture

from shared.connections import Connections
from shared.connections.errors import NotAuthorized
from shared.connections.oauth.flow import EXCHANGE_SECONDS, MAX_TRIES, Parked, new_characters
from shared.connections.records import in_seconds
from shared.errors import Conflict, InvalidRequest, NotConfigured, NotFound
from shared.storage import ObjectInfo, owner_key
from tests.conftest import ThreadServer
from tests.connections.authority import Authority
from tests.connections.authorizing import authorized, begin, park
from tests.connections.calls import add, connect
from tests.connections.conftest import MakeConnections, McpWorld
from tests.connections.hostile import Hostile, results
from tests.connections.world import SECRET, StateFolder
from tests.waiting import until


@pytest.fixture
async def parked(connections: Connections, server: McpWorld, authority: Authority) -> Parked:
    """An authorization of alice's that somebody's browser came back from."""
    return await park(connections, authority.agree((await begin(connections, server)).url))


async def confirm(
    connections: Connections, parked: Parked, characters: str | None = None, who: str = "alice"
) -> Any:
    return await connections.confirm_authorization(
        who, parked.record.id, characters or parked.characters
    )


def wrong(parked: Parked) -> str:
    characters = new_characters()
    return characters if characters != parked.characters else wrong(parked)


async def test_authorization_by_somebody_elses_browser_gives_its_starter_nothing(
    connections: Connections, authority: Authority, parked: Parked, store: StateFolder
) -> None:
    assert parked.record.status == "confirming"
    with pytest.raises(NotAuthorized, match="POST /mcp/oauth/confirm"):
        await add(connections, parked.record.id)
    assert authority.grants == []
    assert parked.characters not in store.text
    assert all(code not in store.text for code in authority.codes)


async def test_characters_confirm_however_they_are_typed_and_once(
    connections: Connections, authority: Authority, parked: Parked, store: StateFolder
) -> None:
    typed = f" {parked.characters[:4].lower()}-{parked.characters[4:]} ".replace("1", "l")
    assert (await confirm(connections, parked, typed)).status == "connected"
    assert await add(connections, parked.record.id) == {"result": 5}
    with pytest.raises(NotFound, match="Connect again"):
        await confirm(connections, parked)
    assert authority.count("authorization_code") == 1


async def test_other_principal_with_the_right_characters_finds_nothing_and_costs_no_try(
    connections: Connections, parked: Parked
) -> None:
    for _ in range(MAX_TRIES + 1):
        with pytest.raises(NotFound, match="no such connection"):
            await confirm(connections, parked, who="bob")
    assert (await confirm(connections, parked)).status == "connected"


async def test_fifth_wrong_try_ends_the_authorization(
    connections: Connections, authority: Authority, parked: Parked, store: StateFolder
) -> None:
    told = []
    for _ in range(MAX_TRIES):
        with pytest.raises(InvalidRequest) as raised:
            await confirm(connections, parked, wrong(parked))
        told.append(raised.value.detail)
    assert ["4 more tries" in told[0], "1 more try" in told[3], "is over" in told[4]] == [True] * 3
    with pytest.raises(NotFound, match="Connect again"):
        await confirm(connections, parked)
    assert authority.grants == []
    record = await connections.client("alice", parked.record.id)
    assert record.status == "authorization_failed"


async def test_guesses_at_the_same_time_are_counted_one_by_one(
    make_connections: MakeConnections, authority: Authority, parked: Parked
) -> None:
    instances = [make_connections() for _ in range(2)]
    guesses = await asyncio.gather(
        *(confirm(instance, parked, wrong(parked)) for instance in instances for _ in range(10)),
        return_exceptions=True,
    )
    assert {type(guess) for guess in guesses} <= {InvalidRequest, NotFound, Conflict}
    assert 1 <= sum(isinstance(guess, InvalidRequest) for guess in guesses) <= MAX_TRIES


async def test_confirmations_at_the_same_time_spend_the_code_once(
    make_connections: MakeConnections, authority: Authority, parked: Parked
) -> None:
    results = await asyncio.gather(
        *(confirm(make_connections(), parked) for _ in range(4)), return_exceptions=True
    )
    assert sum(getattr(result, "status", None) == "connected" for result in results) == 1
    assert authority.count("authorization_code") == 1
    assert await add(make_connections(), parked.record.id) == {"result": 5}


async def test_characters_end_after_ten_minutes(
    connections: Connections, authority: Authority, parked: Parked, store: StateFolder
) -> None:
    assert parked.record.pending
    left = parked.record.pending.expires_at - parked.record.created_at
    assert 600 <= left.total_seconds() < 660
    store.edit(pending={"expires_at": "2020-01-01T00:00:00Z"})
    with pytest.raises(NotFound, match="Connect again"):
        await confirm(connections, parked)
    assert authority.grants == []


@pytest.mark.parametrize(
    "characters", ["x", "1234567", "123456789", "1234567u", "12345678\x00", "é" * 8]
)
async def test_what_cannot_be_characters_costs_neither_a_try_nor_a_look_into_storage(
    connections: Connections,
    parked: Parked,
    store: StateFolder,
    mocker: MockerFixture,
    characters: str,
) -> None:
    reading = mocker.spy(store, "read")
    for _ in range(MAX_TRIES + 1):
        with pytest.raises(InvalidRequest, match="8 characters"):
            await confirm(connections, parked, characters)
    assert reading.call_count == 0
    assert (await confirm(connections, parked)).status == "connected"


async def test_parked_code_that_nobody_confirms_is_removed(
    connections: Connections, parked: Parked, store: StateFolder
) -> None:
    owner = owner_key("alice")
    assert await connections.remove_abandoned(owner, parked.record.id) is None
    edit = parked.record.model_dump(mode="json")["pending"] | {"expires_at": "2020-01-01T00:00:00Z"}
    (name,) = (each for each in store.objects if each.startswith("connections/"))
    store.put(name, json.dumps(json.loads(store.objects[name]) | {"pending": edit}).encode())
    assert await connections.remove_abandoned(owner, parked.record.id) is True
    assert name not in store.objects


async def test_confirmation_that_is_under_way_when_its_time_is_over_is_left_alone(
    connections: Connections, authority: Authority, parked: Parked, store: StateFolder
) -> None:
    store.edit(pending={"expires_at": in_seconds(5).isoformat()})
    authority.is_stalled = True
    confirming = asyncio.create_task(confirm(connections, parked))
    await until(lambda: authority.grants)
    (record,) = map(json.loads, store.connections.values())
    assert datetime.fromisoformat(record["pending"]["expires_at"]) > in_seconds(EXCHANGE_SECONDS)
    assert await connections.remove_abandoned(owner_key("alice"), parked.record.id) is None
    confirming.cancel()
    await asyncio.wait([confirming])


async def test_connection_that_changes_while_it_is_removed_is_left_alone(
    connections: Connections, parked: Parked, store: StateFolder, mocker: MockerFixture
) -> None:
    store.edit(pending={"expires_at": "2020-01-01T00:00:00Z"})
    read = store.read

    async def read_and_be_late(name: str) -> tuple[bytes, ObjectInfo]:
        found = await read(name)
        store.edit(pending={"expires_at": in_seconds(60).isoformat()})
        return found

    mocker.patch.object(store, "read", side_effect=read_and_be_late)
    assert await connections.remove_abandoned(owner_key("alice"), parked.record.id) is None
    assert len(store.connections) == 1


async def test_token_goes_to_no_address_that_was_put_into_the_record(
    make_connections: MakeConnections, server: McpWorld, store: StateFolder
) -> None:
    server.gate.token = SECRET
    client_id = (
        await connect(
            make_connections(), server.url, auth_type="bearer", bearer_token=SecretStr(SECRET)
        )
    ).record.id
    thief = Hostile({"mcp": results()})
    with ThreadServer(thief) as elsewhere:
        store.edit(mcp_url=f"{elsewhere.origin}/mcp")
        with pytest.raises(NotConfigured, match="cannot be decrypted"):
            await add(make_connections(), client_id)
    assert thief.seen == []


async def test_refresh_token_goes_to_no_endpoint_that_was_put_into_the_record(
    make_connections: MakeConnections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    client_id = await authorized(make_connections(), server, authority)
    (name,) = (each for each in store.objects if each.startswith("connections/"))
    record = json.loads(store.objects[name])
    thief = Hostile({"token": results()})
    with ThreadServer(thief) as elsewhere:
        record["oauth"] |= {
            "token_endpoint": f"{elsewhere.origin}/token",
            "renew_at": "2020-01-01T00:00:00Z",
        }
        store.put(name, json.dumps(record).encode())
        with pytest.raises(NotConfigured, match="cannot be decrypted"):
            await add(make_connections(), client_id)
    assert thief.seen == []
