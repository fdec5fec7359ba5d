"""What most tests of connections do: connect, and call a tool."""

from typing import Any

from shared.connections import Connected, Connections, ConnectRequest

CALLBACK = "https://app.example/mcp/oauth/callback"


async def connect(
    connections: Connections, url: str, principal: str = "alice", **fields: Any
) -> Connected:
    request = ConnectRequest(mcp_url=url, **fields)
    connected = await connections.connect(principal, request, CALLBACK)
    assert isinstance(connected, Connected)
    return connected


async def add(connections: Connections, client_id: str, principal: str = "alice") -> Any:
    arguments = {"a": 2, "b": 3}
    result = await connections.call_tool(principal, client_id, "add", arguments)
    return result["structuredContent"]
