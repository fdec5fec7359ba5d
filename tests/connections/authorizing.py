"""Authorizations as their user goes through them."""

import json
from typing import Any

from shared.connections import AuthorizationNeeded, ConnectionRecord, Connections, ConnectRequest
from shared.connections.oauth.flow import Parked
from tests.connections.authority import Authority
from tests.connections.conftest import McpWorld
from tests.connections.world import StateFolder

CALLBACK = "http://localhost:7071/mcp/oauth/callback"


async def begin(
    connections: Connections, server: McpWorld, principal: str = "alice", **fields: Any
) -> AuthorizationNeeded:
    request = ConnectRequest(mcp_url=server.url, auth_type="oauth", **fields)
    made = await connections.connect(principal, request, CALLBACK)
    assert isinstance(made, AuthorizationNeeded)
    return made


async def park(connections: Connections, back: dict[str, str]) -> Parked:
    """Lets the browser come back."""
    return await connections.park_authorization(
        back["state"], back.get("code"), back.get("iss"), back.get("error")
    )


async def finish(connections: Connections, back: dict[str, str]) -> ConnectionRecord:
    """Lets the browser come back, and alice confirm what it showed."""
    parked = await park(connections, back)
    return await connections.confirm_authorization("alice", parked.record.id, parked.characters)


async def authorized(connections: Connections, server: McpWorld, authority: Authority) -> str:
    made = await begin(connections, server)
    await finish(connections, authority.agree(made.url))
    return made.record.id


def expire(store: StateFolder) -> None:
    """Makes all stored tokens old."""
    for name, data in store.connections.items():
        record = json.loads(data)
        record["oauth"]["renew_at"] = "2020-01-01T00:00:00Z"
        store.put(name, json.dumps(record).encode())
