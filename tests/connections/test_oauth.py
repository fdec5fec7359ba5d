"""OAuth against an authorization server that checks everything it gets."""

import asyncio
import base64
from collections.abc import Callable
from datetime import timedelta

import httpx2
import pytest
from pydantic import SecretStr
from pytest_mock import MockerFixture

from shared.connections import (
    Connected,
    Connections,
    ConnectionsConfig,
    ConnectRequest,
)
from shared.connections import records as records_module
from shared.connections.client.http import TokenAuth
from shared.connections.client.target import FixedToken
from shared.connections.errors import NotAuthorized, ServerRefused, ServerUnavailable
from shared.errors import ForbiddenAddress, InvalidRequest, NotFound
from shared.storage import owner_key
from shared.timing import Timing
from tests.connections.authority import CLIENT, CLIENT_SECRET, Authority, query_of
from tests.connections.authorizing import CALLBACK, authorized, begin, expire, finish
from tests.connections.calls import add
from tests.connections.conftest import KEY, MakeConnections, McpWorld
from tests.connections.world import StateFolder
from tests.waiting import until

PUBLIC_CALLBACK = "https://app.example/mcp/oauth/callback"


async def test_discovered_authorization_ends_at_another_instance(
    make_connections: MakeConnections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    made = await begin(make_connections(), server)
    query = query_of(made.url)
    assert query["client_id"] == "registered"
    assert query["redirect_uri"] == CALLBACK
    assert query["scope"] == "read"
    assert query["resource"] == server.url
    with pytest.raises(NotAuthorized, match="waits for its user"):
        await add(make_connections(), made.record.id)
    record = await finish(make_connections(), authority.agree(made.url))
    assert record.status == "connected"
    assert await add(make_connections(), made.record.id) == {"result": 5}
    assert authority.valid
    assert authority.refresh_token
    for secret in (authority.valid, authority.refresh_token, authority.grants[0]["code_verifier"]):
        assert secret not in store.text


async def test_explicit_endpoints_ask_nobody_else(
    connections: Connections, server: McpWorld, authority: Authority
) -> None:
    made = await begin(
        connections,
        server,
        oauth_client_id=CLIENT,
        oauth_client_secret=SecretStr(CLIENT_SECRET),
        oauth_auth_url=f"{authority.origin}/authorize",
        oauth_token_url=f"{authority.origin}/token",
        oauth_scopes=["read", "write"],
        oauth_redirect_uri="http://localhost:8080/callback",
    )
    assert authority.requests == []
    assert query_of(made.url)["scope"] == "read write"
    assert query_of(made.url)["redirect_uri"] == "http://localhost:8080/callback"
    await finish(connections, authority.agree(made.url, issuer=None))
    assert await add(connections, made.record.id) == {"result": 5}


async def test_state_is_good_once_even_for_two_at_the_same_time(
    make_connections: MakeConnections, server: McpWorld, authority: Authority
) -> None:
    one, two = make_connections(), make_connections()
    back = authority.agree((await begin(one, server)).url)
    results = await asyncio.gather(finish(one, back), finish(two, back), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["ConnectionRecord", "NotFound"]
    with pytest.raises(NotFound):
        await finish(one, back)
    assert authority.count("authorization_code") == 1


@pytest.mark.parametrize(
    "forge",
    [
        lambda state: "",
        lambda state: "x",
        lambda state: state[:-1],
        lambda state: state + "x",
        lambda state: f"../x.{state}",
        lambda state: f"{owner_key('alice')}.{state}",
        lambda state: "A" * len(state),
        lambda state: state[:40] + ("A" if state[40] != "A" else "B") + state[41:],
    ],
)
async def test_forged_state_is_unknown_and_costs_neither_the_state_nor_a_look_into_storage(
    connections: Connections,
    server: McpWorld,
    authority: Authority,
    store: StateFolder,
    mocker: MockerFixture,
    forge: Callable[[str], str],
) -> None:
    back = authority.agree((await begin(connections, server)).url)
    reading = mocker.spy(store, "read")
    with pytest.raises(NotFound):
        await finish(connections, {**back, "state": forge(back["state"])})
    assert (reading.call_count, authority.grants) == (0, [])
    assert (await finish(connections, back)).status == "connected"


async def test_state_tells_the_authorization_server_nothing_about_the_user(
    connections: Connections, server: McpWorld, authority: Authority
) -> None:
    states = [query_of((await begin(connections, server)).url)["state"] for _ in range(2)]
    owner = owner_key("alice")
    for state in states:
        assert owner not in state
        assert bytes.fromhex(owner) not in base64.urlsafe_b64decode(state)
    # Nor are two of the same user alike.
    assert len({state[:16] for state in states}) == 2


async def test_state_ends_after_ten_minutes(
    connections: Connections,
    server: McpWorld,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    back = authority.agree((await begin(connections, server)).url)
    later = records_module.now() + timedelta(seconds=601)
    monkeypatch.setattr(records_module, "now", lambda: later)
    with pytest.raises(NotFound):
        await finish(connections, back)
    assert authority.grants == []


@pytest.mark.parametrize("issuer", ["https://evil.example", None])
async def test_answer_of_another_issuer_is_refused(
    connections: Connections, server: McpWorld, authority: Authority, issuer: str | None
) -> None:
    made = await begin(connections, server)
    with pytest.raises(NotAuthorized, match="another authorization server"):
        await finish(connections, authority.agree(made.url, issuer))
    assert authority.grants == []
    assert (await connections.client("alice", made.record.id)).status == "authorization_failed"


async def test_metadata_of_another_issuer_is_refused(
    connections: Connections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    authority.issuer_in_metadata = "https://evil.example"
    with pytest.raises(ServerUnavailable, match="another issuer"):
        await begin(connections, server)
    assert store.objects == {}


async def test_metadata_of_another_server_is_refused(
    connections: Connections, server: McpWorld, authority: Authority
) -> None:
    authority.server_url = "https://other.example/mcp"
    with pytest.raises(ServerUnavailable, match="another server"):
        await begin(connections, server)


@pytest.mark.parametrize(
    "metadata", ["http://169.254.169.254/x", "http://168.63.129.16/", "file:///etc/passwd"]
)
async def test_metadata_at_a_forbidden_address_is_not_asked(
    connections: Connections, server: McpWorld, authority: Authority, metadata: str
) -> None:
    server.gate.challenge = f'Bearer resource_metadata="{metadata}"'
    with pytest.raises((ForbiddenAddress, ServerUnavailable)):
        await begin(connections, server)
    assert authority.requests == []


async def test_declined_authorization_is_told(
    connections: Connections, server: McpWorld, authority: Authority
) -> None:
    made = await begin(connections, server)
    back = {**authority.agree(made.url), "error": "access_denied"}
    del back["code"]
    with pytest.raises(NotAuthorized, match="access_denied"):
        await finish(connections, back)
    with pytest.raises(NotAuthorized, match="Connect again"):
        await add(connections, made.record.id)


async def test_refused_code_is_told_without_what_the_server_says_about_it(
    connections: Connections, server: McpWorld, authority: Authority
) -> None:
    made = await begin(connections, server)
    authority.refuses = True
    with pytest.raises(NotAuthorized) as raised:
        await finish(connections, authority.agree(made.url))
    assert raised.value.detail.count("invalid_grant") == 1
    assert authority.grants[0]["code"] not in raised.value.detail


async def test_client_metadata_document_comes_before_registration(
    make_connections: MakeConnections, server: McpWorld, authority: Authority
) -> None:
    document = "https://app.example/.well-known/mcp-oauth-client"
    config = ConnectionsConfig(
        allow_private=True, encryption_keys=[KEY], client_metadata_url=document
    )
    made = await begin(make_connections(config), server)
    assert query_of(made.url)["client_id"] == "registered"
    authority.takes_documents = True
    authority.requests.clear()
    made = await begin(make_connections(config), server)
    assert query_of(made.url)["client_id"] == document
    assert "/register" not in authority.requests
    other = await begin(
        make_connections(config), server, oauth_redirect_uri="http://localhost:8080/back"
    )
    assert query_of(other.url)["client_id"] == "registered"


@pytest.mark.parametrize(
    ("callback", "redirect_uri"),
    [
        (PUBLIC_CALLBACK, "https://attacker.example/back"),
        (PUBLIC_CALLBACK, "https://app.example/elsewhere"),
        (PUBLIC_CALLBACK, f"{PUBLIC_CALLBACK}?next=1"),
        (PUBLIC_CALLBACK, "http://localhost:8080/back"),
        (CALLBACK, "https://attacker.example/back"),
        (CALLBACK, "http://localhost.attacker.example/back"),
        (CALLBACK, "http://localhost:8080/back#fragment"),
    ],
)
async def test_codes_come_back_to_nobody_but_this_app(
    connections: Connections, authority: Authority, callback: str, redirect_uri: str
) -> None:
    request = ConnectRequest(
        mcp_url=authority.server_url, auth_type="oauth", oauth_redirect_uri=redirect_uri
    )
    with pytest.raises(InvalidRequest, match="oauth_redirect_uri"):
        await connections.connect("alice", request, callback)
    assert authority.requests == []


async def test_own_callback_may_be_named(
    connections: Connections, server: McpWorld, authority: Authority
) -> None:
    made = await begin(connections, server, oauth_redirect_uri=CALLBACK)
    assert query_of(made.url)["redirect_uri"] == CALLBACK


async def test_server_that_registers_nobody_needs_a_client_id(
    connections: Connections, server: McpWorld, authority: Authority
) -> None:
    authority.registers = False
    with pytest.raises(ServerRefused, match="oauth_client_id"):
        await begin(connections, server)
    made = await begin(
        connections,
        server,
        oauth_client_id=CLIENT,
        oauth_client_secret=SecretStr(CLIENT_SECRET),
    )
    assert query_of(made.url)["client_id"] == CLIENT


@pytest.mark.parametrize("takes_post_only", [False, True])
@pytest.mark.parametrize("is_explicit", [False, True])
async def test_client_credentials(
    make_connections: MakeConnections,
    server: McpWorld,
    authority: Authority,
    store: StateFolder,
    takes_post_only: bool,
    is_explicit: bool,
) -> None:
    authority.takes_post_only = takes_post_only
    request = ConnectRequest(
        mcp_url=server.url,
        auth_type="oauth",
        oauth_grant_type="client_credentials",
        oauth_client_id=CLIENT,
        oauth_client_secret=SecretStr(CLIENT_SECRET),
        oauth_token_url=f"{authority.origin}/token" if is_explicit else None,
    )
    made = await make_connections().connect("alice", request, CALLBACK)
    assert isinstance(made, Connected)
    assert CLIENT_SECRET not in store.text
    assert await add(make_connections(), made.record.id) == {"result": 5}
    assert authority.count("client_credentials") == 1


async def test_client_credentials_need_a_client(
    connections: Connections, server: McpWorld, authority: Authority
) -> None:
    request = ConnectRequest(
        mcp_url=server.url, auth_type="oauth", oauth_token_url=f"{authority.origin}/token"
    )
    with pytest.raises(InvalidRequest, match="oauth_client_id"):
        await connections.connect("alice", request, CALLBACK)


async def test_token_is_replaced_before_its_end_once_for_all_instances(
    make_connections: MakeConnections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    instances = [make_connections() for _ in range(4)]
    client_id = await authorized(instances[0], server, authority)
    expire(store)
    results = await asyncio.gather(
        *(add(instance, client_id) for instance in instances for _ in range(3))
    )
    assert results == [{"result": 5}] * 12
    assert authority.count("refresh_token") == 1


async def test_refused_token_is_replaced_once(
    connections: Connections, server: McpWorld, authority: Authority
) -> None:
    client_id = await authorized(connections, server, authority)
    assert await add(connections, client_id) == {"result": 5}
    authority.valid = "something else"
    assert await add(connections, client_id) == {"result": 5}
    assert authority.count("refresh_token") == 1


async def test_caller_who_leaves_does_not_lose_the_refreshed_token(
    make_connections: MakeConnections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    connections = make_connections()
    client_id = await authorized(connections, server, authority)
    assert await add(connections, client_id) == {"result": 5}
    expire(store)
    other = make_connections()
    leaving = asyncio.create_task(add(other, client_id))
    await until(lambda: authority.count("refresh_token"))
    leaving.cancel()
    await asyncio.wait({leaving})
    assert await add(make_connections(), client_id) == {"result": 5}
    assert authority.count("refresh_token") == 1


async def test_token_goes_to_no_other_origin() -> None:
    auth = TokenAuth(FixedToken("s3cret"), httpx2.URL("https://mcp.example/mcp"))
    seen = {}

    async def answer(request: httpx2.Request) -> httpx2.Response:
        seen[str(request.url)] = request.headers.get("authorization")
        return httpx2.Response(200)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer), auth=auth) as client:
        for url in ("https://mcp.example/x", "https://evil.example/", "http://mcp.example/mcp"):
            await client.get(url)
    assert list(seen.values()) == ["Bearer s3cret", None, None]


async def test_refused_refresh_asks_to_connect_again(
    connections: Connections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    client_id = await authorized(connections, server, authority)
    expire(store)
    authority.refuses = True
    for _ in range(5):
        with pytest.raises(NotAuthorized, match="Connect again"):
            await add(connections, client_id)
    assert (await connections.client("alice", client_id)).status == "authorization_failed"
    assert authority.count("refresh_token") == 1


async def test_lease_of_an_instance_that_died_ends(
    connections: Connections, server: McpWorld, authority: Authority, store: StateFolder
) -> None:
    client_id = await authorized(connections, server, authority)
    expire(store)
    store.edit(holder="an instance that died")
    store.make_older(seconds=Timing().lease)
    assert await add(connections, client_id) == {"result": 5}
    assert authority.count("refresh_token") == 1


@pytest.mark.parametrize(
    "token", ["", "a b", "a\r\nX-Other: 1", "\u043a\u043b\u044e\u0447", "x" * 16_385]
)
async def test_token_that_no_header_can_hold_is_refused(
    connections: Connections, server: McpWorld, authority: Authority, token: str
) -> None:
    made = await begin(connections, server)
    authority.answer = {"access_token": token}
    with pytest.raises(ServerUnavailable, match="visible ASCII characters, 16384 at most"):
        await finish(connections, authority.agree(made.url))
    assert (await connections.client("alice", made.record.id)).status == "authorization_failed"
