"""Connections to any MCP server: its tools, through one API and in chat.

A connection is a stored record that belongs to its principal; any instance can serve it. Live sessions
are caches of instances. Nothing here imports the MCP SDK before the first connection is used.
"""

from shared.connections.client.cleaning import clean
from shared.connections.client.operations import Completion, Listing, Reference, part_as_text
from shared.connections.config import (
    CLIENT_METADATA_PATH,
    ConnectionsConfig,
    OperatorServer,
)
from shared.connections.connecting import AuthorizationNeeded, Connected
from shared.connections.errors import ConnectionTimeout
from shared.connections.listings import Kind
from shared.connections.records import ConnectionRecord
from shared.connections.remote_lists import RemoteList, open_remote_list
from shared.connections.remote_tools import (
    RemoteTools,
    find_remote_tool,
    open_remote_tools,
)
from shared.connections.requests import ConnectRequest
from shared.connections.service import Connections
from shared.connections.sources import ConnectionProblem, Source, Wanted

__all__ = [
    "CLIENT_METADATA_PATH",
    "AuthorizationNeeded",
    "Completion",
    "ConnectRequest",
    "Connected",
    "ConnectionProblem",
    "ConnectionRecord",
    "ConnectionTimeout",
    "Connections",
    "ConnectionsConfig",
    "Kind",
    "Listing",
    "OperatorServer",
    "Reference",
    "RemoteList",
    "RemoteTools",
    "Source",
    "Wanted",
    "clean",
    "find_remote_tool",
    "open_remote_list",
    "open_remote_tools",
    "part_as_text",
]
