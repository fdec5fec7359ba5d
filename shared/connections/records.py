"""Connections as stored: one object each, which belongs to its principal."""

import json
import re
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field

from shared.storage import LeasedRecord

TransportName = Literal["http", "sse", "stdio"]
AuthType = Literal["none", "bearer", "oauth"]
Status = Literal["connecting", "authorizing", "confirming", "connected", "authorization_failed"]

_MAX_PREFIX_CHARS = 24
_HIDDEN_QUERY = "…"

CONNECTING_SECONDS = 600.0
"""Seconds after which a connection that is being made counts as abandoned: more than any request has."""


class Negotiated(BaseModel):
    """What a server said of itself, kept so that connecting again costs no round trip.

    Attributes:
        protocol_version: The revision that was agreed on.
        discover: Its whole discover result; None for a server of the older era.
    """

    protocol_version: str
    discover: dict[str, Any] | None = None


class OAuthClient(BaseModel):
    """The OAuth client that gets tokens; nothing of it is secret.

    Attributes:
        grant: The grant type: on behalf of the user, or of the client itself.
        client_id: The client that the authorization server knows.
        authorization_endpoint: The authorization endpoint; None for client credentials.
        token_endpoint: The token endpoint.
        redirect_uri: The URL that the user's browser is sent back to.
        scopes: The scopes to ask for.
        resource: The server's identifier (RFC 8707); None where it is not asked for.
        issuer: The issuer that the answer must name (RFC 9207); None where endpoints were given.
        requires_issuer: Whether the answer must name it.
        auth_methods: Authentication methods of the token endpoint; empty where unknown.
        renew_at: When the access token is to be replaced, somewhat before its end; None where the
            server did not say when that is.
    """

    grant: Literal["authorization_code", "client_credentials"]
    client_id: str
    authorization_endpoint: str | None = None
    token_endpoint: str
    redirect_uri: str | None = None
    scopes: list[str] = Field(default_factory=list)
    resource: str | None = None
    issuer: str | None = None
    requires_issuer: bool = False
    auth_methods: list[str] = Field(default_factory=list)
    renew_at: datetime | None = None


class PendingAuthorization(BaseModel):
    """An authorization that waits for its user.

    Attributes:
        expires_at: When it ends.
        state_digest: SHA-256 of the state that must come back; empty once it has.
        tries: Number of attempts to confirm it.
    """

    expires_at: datetime
    state_digest: str = ""
    tries: int = 0


class ConnectionRecord(LeasedRecord):
    """A connection, which is held while its tokens are renewed.

    Attributes:
        id: Random; the callers' ``client_id``.
        name: Its name, which the principal gave it.
        server: Name of the operator's server that its principal authorized; None for any other.
        tool_prefix: What the names of its tools begin with in chat. It stays while the connection lasts,
            so that no name of a tool comes to mean another connection's.
        transport: The transport of the protocol.
        mcp_url: URL of the server, without its query; None for a command.
        command: Name of the operator's command; None for a URL.
        auth_type: The kind of credentials that the server is sent.
        status: Whether it can be used.
        created_at: When it was made.
        last_activity: When it was used last, up to a minute behind.
        timeout: Seconds that connecting may take.
        negotiated: What the server said of itself.
        oauth: The OAuth client; None for other kinds of credentials.
        pending: The authorization under way.
        work_due_at: From when housekeeping looks after what is being made; None where it need not.
        sealed: The encrypted secrets.
    """

    id: str
    name: str
    server: str | None = None
    tool_prefix: str | None = None
    transport: TransportName
    mcp_url: str | None = None
    command: str | None = None
    auth_type: AuthType = "none"
    status: Status = "connecting"
    created_at: datetime
    last_activity: datetime
    timeout: float = 30
    negotiated: Negotiated | None = None
    oauth: OAuthClient | None = None
    pending: PendingAuthorization | None = None
    work_due_at: datetime | None = None
    sealed: str | None = None

    @property
    def is_abandoned(self) -> bool:
        """Whether the instance that was making it is gone, or its user never came back."""
        if self.status == "connecting":
            return self.created_at < in_seconds(-CONNECTING_SECONDS)
        return self.status == "authorization_failed" and self.pending is not None

    def end_authorization_in_time(self) -> None:
        """Marks an authorization whose time is over as failed."""
        if self.status not in ("authorizing", "confirming"):
            return
        if self.pending is None or self.pending.expires_at < now():
            self.status = "authorization_failed"


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it was read.

    Attributes:
        owner: Whose it is, as names of stored things have it.
        record: The record.
        etag: Its version.
    """

    owner: str
    record: ConnectionRecord
    etag: str

    @property
    def key(self) -> str:
        """Its key in the caches of an instance."""
        return key_of(self.owner, self.record.id)

    @property
    def object_name(self) -> str:
        """Name of the object that holds it."""
        return object_name(self.owner, self.record.id)

    @property
    def seal_binding(self) -> str:
        """What its sealed secrets belong to; see `seal_binding`."""
        return seal_binding(self.owner, self.record)


def key_of(owner: str, connection_id: str) -> str:
    """Returns the key of a connection in the caches of an instance."""
    return f"{owner}/{connection_id}"


def object_name(owner: str, connection_id: str) -> str:
    """Returns the name of the object that holds a connection."""
    return f"connections/{owner}/{connection_id}.json"


def seal_binding(owner: str, record: ConnectionRecord) -> str:
    """Returns what sealed secrets belong to: the record, and the addresses that they are sent to.

    So that a writer of records without the key cannot have secrets sent elsewhere.
    """
    token_endpoint = record.oauth and record.oauth.token_endpoint
    return json.dumps([object_name(owner, record.id), record.mcp_url, token_endpoint])


def new_id() -> str:
    """Returns an id for a new connection."""
    return str(uuid.uuid4())


def now() -> datetime:
    """Returns the time in UTC."""
    return datetime.now(UTC)


def in_seconds(seconds: float) -> datetime:
    """Returns the time so many seconds from now."""
    return now() + timedelta(seconds=seconds)


def plain_prefix(name: str) -> str:
    """Returns a connection's name as every provider takes it at the beginning of a function's name."""
    plain = re.sub(r"_{2,}", "_", re.sub(r"[^A-Za-z0-9-]", "_", name)).strip("_-")
    plain = plain[:_MAX_PREFIX_CHARS] or "server"
    return plain if plain[0].isalpha() else f"_{plain}"


def prefix_of(record: ConnectionRecord) -> str:
    """Returns the prefix of a connection, which old ones do not have stored."""
    return record.tool_prefix or plain_prefix(record.name)


def free_prefix(prefix: str, taken: Collection[str]) -> str:
    """Returns the prefix, or the first of its numbered ones that nothing else has."""
    candidate, number = prefix, 1
    while candidate in taken:
        number += 1
        candidate = f"{prefix}_{number}"
    return candidate


def hide_query(url: str) -> tuple[str, str | None]:
    """Returns a URL as it may be shown and stored, and its query, which may hold a key."""
    shown, _, query = url.partition("?")
    return (f"{shown}?{_HIDDEN_QUERY}", query) if query else (url, None)


def with_query(shown: str, query: str | None) -> str:
    """Returns the URL that `hide_query` was given."""
    return shown if query is None else shown.removesuffix(_HIDDEN_QUERY) + query
