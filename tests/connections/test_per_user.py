"""Servers of the operator's that each principal authorizes with an own account."""

import json

import pytest

from shared.auth import Principal
from shared.connections import (
    AuthorizationNeeded,
    Connections,
    ConnectionsConfig,
    ConnectRequest,
    OperatorServer,
    open_remote_tools,
)
from shared.connections.errors import NotAuthorized
from shared.context import CallContext
from shared.deadline import Deadline
from shared.errors import Conflict, InvalidRequest
from shared.settings import load_settings
from tests.connections.authority import Authority
from tests.connections.authorizing import CALLBACK, finish
from tests.connections.conftest import KEY, MakeConnections, McpWorld


def config_of(url: str) -> ConnectionsConfig:
    servers = {"files": OperatorServer(url, is_per_user=True)}
    return ConnectionsConfig(allow_private=True, encryption_keys=[KEY], operator_servers=servers)


async def begin(connections: Connections, server: str = "files") -> AuthorizationNeeded:
    made = await connections.connect("alice", ConnectRequest(server=server), CALLBACK)
    assert isinstance(made, AuthorizationNeeded)
    return made


async def test_each_principal_authorizes_the_server_once(
    make_connections: MakeConnections, server: McpWorld, authority: Authority, deadline: Deadline
) -> None:
    connections = make_connections(config_of(server.url))
    alice, bob = (
        CallContext(Principal(name, frozenset({"connections"})), deadline)
        for name in ("alice", "bob")
    )
    before = await open_remote_tools(connections, alice)
    [problem] = before.problems
    assert (before.specs, problem.client_id, problem.reason) == ([], "files", "not_authorized")
    assert '{"server": "files"} to POST /mcp/connect' in problem.detail
    with pytest.raises(NotAuthorized, match="with your own account"):
        await connections.list_tools("alice", "files")
    await begin(connections)
    made = await begin(connections)
    await finish(connections, authority.agree(made.url))
    after = await open_remote_tools(connections, alice, ["files"])
    assert (after.specs[0].name, after.problems) == ("files__add", [])
    result = await after.call("files__add", {"a": 2, "b": 3}, alice)
    assert result.structured == {"result": 5}
    assert len(await connections.clients("alice")) == 1
    theirs = await open_remote_tools(connections, bob)
    assert (theirs.specs, theirs.problems[0].client_id) == ([], "files")
    with pytest.raises(Conflict, match="already"):
        await begin(connections)


async def test_server_that_the_operator_moved_is_not_sent_the_tokens(
    make_connections: MakeConnections, server: McpWorld, authority: Authority, deadline: Deadline
) -> None:
    connections = make_connections(config_of(server.url))
    made = await begin(connections)
    await finish(connections, authority.agree(made.url))
    moved = make_connections(config_of(f"{server.running.origin}/elsewhere"))
    with pytest.raises(NotAuthorized, match="moved"):
        await moved.list_tools("alice", made.record.id)
    context = CallContext(Principal("alice", frozenset({"connections"})), deadline)
    assert (await open_remote_tools(moved, context)).specs == []


async def test_only_such_servers_are_connected_by_name(
    make_connections: MakeConnections, server: McpWorld
) -> None:
    connections = make_connections(config_of(server.url))
    for request in (
        ConnectRequest(server="unknown"),
        ConnectRequest(server="files", mcp_url="https://other.example/mcp"),
    ):
        with pytest.raises(InvalidRequest):
            await connections.connect("alice", request, CALLBACK)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"auth": "per-user", "bearer_token_setting": "T"}, "bearer_token_setting"),
        ({"client_id": "c"}, "client_id"),
        ({"scopes": ["s"]}, "scopes"),
    ],
)
def test_fields_that_do_not_go_with_auth_are_malformed(
    entry: dict[str, object], complaint: str
) -> None:
    servers = {"docs": {"url": "https://docs.example/mcp", **entry}}
    settings = load_settings({"MCP_SERVERS": json.dumps(servers), "T": "t"})
    [problem] = settings.problems
    assert problem.startswith(f"The setting MCP_SERVERS, entry docs.{complaint}, needs auth")
