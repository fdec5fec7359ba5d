"""Servers of the operator's that each principal authorizes once, with an own account."""

from shared.connections.config import ConnectionsConfig
from shared.connections.records import ConnectionRecord, hide_query


def how_to_authorize(server: str) -> str:
    """Returns what a principal has to do before it can use a server of the operator's."""
    return (
        f'Authorize \'{server}\' once with your own account: send {{"server": "{server}"}} to POST '
        "/mcp/connect, open authorization_url in a browser, and send the characters that it shows to "
        "POST /mcp/oauth/confirm."
    )


def is_offered(record: ConnectionRecord, config: ConnectionsConfig) -> bool:
    """Returns whether the operator still has the server of a connection, at the same address."""
    if record.server is None:
        return True
    server = config.operator_servers.get(record.server)
    if server is None or not server.is_per_user:
        return False
    return hide_query(server.url)[0] == record.mcp_url
