"""What the operator decides about connections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

CLIENT_METADATA_PATH = "/.well-known/mcp-oauth-client"
"""Where this app publishes how it describes itself to authorization servers."""


@dataclass(frozen=True, slots=True)
class OperatorServer:
    """A server that every caller's chat may use.

    Attributes:
        url: Its streamable HTTP endpoint.
        bearer_token: Sent to it; None for a server without authentication.
        is_per_user: Whether each principal authorizes it once, with an own account.
        client_id: The OAuth client for that; None: one is registered.
        client_secret: Its secret.
        scopes: What to ask for; empty for what the server names.
    """

    url: str
    bearer_token: str | None = field(default=None, repr=False)
    is_per_user: bool = False
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    scopes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ConnectionsConfig:
    """The settings of connections.

    Attributes:
        allow_private: Whether servers may be called over http and at private addresses.
        stdio_commands: Name → argument vector of what may be started; none at all by default.
        operator_servers: Name → server of the operator's.
        encryption_keys: Keys of 32 bytes; the first encrypts, all decrypt. Empty: one is generated
            into the store where ``generates_key`` allows it.
        generates_key: Whether a key may be generated into the store, for local work.
        client_metadata_url: Where this app publishes its OAuth client metadata document; None where it
            has no public https address.
        own_urls: Where callers reach this app, to which nobody may connect.
    """

    allow_private: bool = False
    stdio_commands: Mapping[str, Sequence[str]] = field(default_factory=dict)
    operator_servers: Mapping[str, OperatorServer] = field(default_factory=dict)
    encryption_keys: Sequence[bytes] = field(default=(), repr=False)
    generates_key: bool = False
    client_metadata_url: str | None = None
    own_urls: Sequence[str] = ()
