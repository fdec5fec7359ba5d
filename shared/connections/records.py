"""Connections as stored: one object each, which belongs to its principal."""

import asyncio
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field

from shared.connections.credentials import Secrets, State, Vault
from shared.errors import Conflict, NotFound
from shared.storage import ObjectChanged, ObjectMissing, owner_key

TransportName = Literal["http", "sse", "stdio"]
AuthType = Literal["none", "bearer", "oauth"]
Status = Literal["connecting", "authorizing", "connected", "authorization_failed"]

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OWNER = re.compile(r"[0-9a-f]{32}")
_READS_AT_A_TIME = 8
_MAX_ATTEMPTS = 20


class Negotiated(BaseModel):
    """What a server said of itself, kept so that connecting again costs no round trip.

    Attributes:
        protocol_version: The revision that was agreed on.
        discover: Its whole discover result; None for a server of the older era.
    """

    protocol_version: str
    discover: dict[str, Any] | None = None


class OAuthClient(BaseModel):
    """How tokens are got; nothing of it is secret.

    Attributes:
        grant: Whose behalf it is on: the user's, or the client's own.
        client_id: The client that the authorization server knows.
        authorization_endpoint: Where the user agrees; None for the client's own behalf.
        token_endpoint: Where tokens come from.
        redirect_uri: Where the user's browser comes back to.
        scopes: What to ask for.
        resource: The server's identifier (RFC 8707); None where nobody asked for it.
        issuer: Who must be named by the answer (RFC 9207); None where endpoints were given.
        requires_issuer: Whether the answer must name it.
        auth_methods: How the token endpoint lets clients prove themselves; empty where unknown.
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
    """A user who was sent to agree.

    Attributes:
        state_digest: SHA-256 of the state that must come back.
        expires_at: Until when.
    """

    state_digest: str
    expires_at: datetime


class ConnectionRecord(BaseModel):
    """A connection.

    Attributes:
        id: Random; the callers' ``client_id``.
        name: What its owner calls it.
        tool_prefix: What the names of its tools begin with in chat. It stays while the connection lasts,
            so that no name of a tool comes to mean another connection's.
        transport: How it is spoken to.
        mcp_url: Where the server is; None for a command.
        command: Name of the operator's command; None for a URL.
        auth_type: How the server knows us.
        status: Whether it can be used.
        created_at: When it was made.
        last_activity: When it was used last, some minutes behind.
        timeout: Seconds that connecting may take.
        negotiated: What the server said of itself.
        oauth: How tokens are got.
        pending: The authorization under way.
        refreshing_until: Until when the instance that fetches a token has that for itself.
        sealed: The encrypted secrets.
    """

    id: str
    name: str
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
    refreshing_until: datetime | None = None
    sealed: str | None = None


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
        """What instances know it by."""
        return key_of(self.owner, self.record.id)

    @property
    def object_name(self) -> str:
        """Name of the object that holds it."""
        return _object_name(self.owner, self.record.id)


def owner_of(principal: str) -> str:
    """Returns the part of object names that stands for a principal."""
    return owner_key(principal)


def key_of(owner: str, connection_id: str) -> str:
    """Returns what instances know an owner's connection by."""
    return f"{owner}/{connection_id}"


def new_id() -> str:
    """Returns an id for a new connection."""
    return str(uuid.uuid4())


def now() -> datetime:
    """Returns the time in UTC."""
    return datetime.now(UTC)


def in_seconds(seconds: float) -> datetime:
    """Returns the time so many seconds from now."""
    return now() + timedelta(seconds=seconds)


def _object_name(owner: str, connection_id: str) -> str:
    return f"connections/{owner}/{connection_id}.json"


class ConnectionStore:
    """Reads and writes connections.

    Args:
        state: Returns the container of state.
        vault: What encrypts their secrets.
    """

    def __init__(self, state: State, vault: Vault) -> None:
        self._state = state
        self._vault = vault

    async def create(self, owner: str, record: ConnectionRecord, secrets: Secrets) -> Stored:
        """Stores a new connection."""
        name = _object_name(owner, record.id)
        record.sealed = await self._seal(secrets, name)
        info = await (await self._state()).create(name, record.model_dump_json().encode())
        return Stored(owner, record, info.etag)

    async def read(self, owner: str, connection_id: str) -> Stored:
        """Returns a connection.

        Raises:
            NotFound: The owner has none of that id.
        """
        missing = NotFound("There is no such connection. GET /mcp/clients lists yours.")
        if not _ID.fullmatch(connection_id) or not _OWNER.fullmatch(owner):
            raise missing
        try:
            data, info = await (await self._state()).read(_object_name(owner, connection_id))
        except ObjectMissing as error:
            raise missing from error
        return Stored(owner, ConnectionRecord.model_validate_json(data), info.etag)

    async def list(self, owner: str) -> Sequence[Stored]:
        """Returns the owner's connections, oldest first."""
        ids: list[str] = []
        cursor = None
        while True:
            page = await (await self._state()).list(f"connections/{owner}/", 1000, cursor)
            ids += [item.name.rpartition("/")[2].removesuffix(".json") for item in page.objects]
            if (cursor := page.cursor) is None:
                break
        places = asyncio.Semaphore(_READS_AT_A_TIME)

        async def read(connection_id: str) -> Stored | None:
            async with places:
                try:
                    return await self.read(owner, connection_id)
                except NotFound:
                    return None

        found = await asyncio.gather(*map(read, ids))
        return sorted(filter(None, found), key=lambda stored: stored.record.created_at)

    async def count(self, owner: str) -> int:
        """Returns how many connections the owner has, up to a thousand."""
        return len((await (await self._state()).list(f"connections/{owner}/", 1000)).objects)

    async def replace(self, stored: Stored, secrets: Secrets | None = None) -> Stored:
        """Writes a record that nobody has changed since it was read.

        Args:
            stored: The record, changed.
            secrets: New secrets; None to keep those that it has.

        Raises:
            ObjectChanged: Somebody has.
        """
        if secrets is not None:
            stored.record.sealed = await self._seal(secrets, stored.object_name)
        data = stored.record.model_dump_json().encode()
        info = await (await self._state()).replace(stored.object_name, data, stored.etag)
        return Stored(stored.owner, stored.record, info.etag)

    async def change(
        self,
        owner: str,
        connection_id: str,
        change: Callable[[ConnectionRecord], object],
        secrets: Secrets | None = None,
    ) -> Stored:
        """Changes a record whatever others change in it meanwhile.

        Raises:
            NotFound: It is gone.
            Conflict: Others were faster every time.
        """
        for _ in range(_MAX_ATTEMPTS):
            stored = await self.read(owner, connection_id)
            change(stored.record)
            try:
                return await self.replace(stored, secrets)
            except ObjectChanged:
                continue
        raise Conflict("Others change this connection all the time. Try again.", 1)

    async def delete(self, stored: Stored) -> None:
        """Deletes a connection."""
        await (await self._state()).delete(stored.object_name)

    async def secrets(self, stored: Stored) -> Secrets:
        """Returns the secrets of a connection.

        Raises:
            NotConfigured: Their key is missing.
        """
        if stored.record.sealed is None:
            return Secrets()
        return (await self._vault.box()).decrypt(stored.record.sealed, stored.object_name)

    async def _seal(self, secrets: Secrets, name: str) -> str | None:
        return None if secrets.is_empty else (await self._vault.box()).encrypt(secrets, name)
