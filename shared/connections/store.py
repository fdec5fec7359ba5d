"""Stores connections, their secrets, and when they were used last."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime, timedelta

from shared.background import Background
from shared.connections.config import ConnectionsConfig
from shared.connections.credentials import SecretBox, Secrets
from shared.connections.records import ConnectionRecord, Stored, now, object_name, seal_binding
from shared.errors import GatewayError, NotConfigured, NotFound, StorageUnavailable
from shared.storage import (
    Lease,
    LeasedRecords,
    ObjectChanged,
    ObjectMissing,
    ObjectStore,
    Versioned,
    WorkItem,
    WorkItems,
)
from shared.timing import Timing

ACTIVITY_STEP = timedelta(minutes=1)
"""How far behind ``last_activity`` of a stored record may be: not every call is worth a write."""

_MOST_KNOWN = 1000
_BUSY = "Another request renews the token of this connection. Retry the request."
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OWNER = re.compile(r"[0-9a-f]{32}")


class ConnectionStore:
    """Reads and writes connections.

    Args:
        state: The container of state.
        config: Has the keys that encrypt their secrets.
        background: Ends leases, even when the caller is cancelled.
        timing: The lengths of leases.
    """

    def __init__(
        self,
        state: ObjectStore,
        config: ConnectionsConfig,
        background: Background | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._state = state
        self._records = LeasedRecords(
            state, ConnectionRecord, timing or Timing(), background or Background()
        )
        self._box = SecretBox(config, state)
        self._work_items = WorkItems(state)

    async def create(self, owner: str, record: ConnectionRecord, secrets: Secrets) -> Stored:
        """Stores a new connection."""
        name = object_name(owner, record.id)
        record.sealed = await self._seal(secrets, seal_binding(owner, record))
        created = await self._records.create(name, record)
        return Stored(owner, record, created.etag)

    async def read(self, owner: str, connection_id: str) -> Stored:
        """Returns a connection.

        Raises:
            NotFound: The owner has none of that id.
        """
        missing = NotFound("There is no such connection. GET /mcp/clients lists yours.")
        if not _ID.fullmatch(connection_id) or not _OWNER.fullmatch(owner):
            raise missing
        try:
            found = await self._records.get(object_name(owner, connection_id))
        except ObjectMissing as error:
            raise missing from error
        return _present(owner, found)

    async def list(self, owner: str) -> Sequence[Stored]:
        """Returns the owner's connections, oldest first."""
        found: list[Stored] = []
        cursor = None
        while True:
            page = await self._records.list(f"connections/{owner}/", 1000, cursor)
            found += [_present(owner, each) for each in page.records]
            if (cursor := page.cursor) is None:
                break
        return sorted(found, key=lambda one: (one.record.created_at, one.record.id))

    async def count(self, owner: str) -> int:
        """Returns how many connections the owner has, up to a thousand."""
        return len((await self._state.list(f"connections/{owner}/", 1000)).objects)

    async def replace(self, stored: Stored, secrets: Secrets | None = None) -> Stored:
        """Replaces an unchanged record, and seals its secrets with the current key.

        Args:
            stored: The record, changed.
            secrets: New secrets; None to keep those that it has.

        Raises:
            ObjectChanged: It has changed.
        """
        if secrets is None and await self.has_old_seal(stored):
            secrets = await self.secrets(stored)
        if secrets is not None:
            stored.record.sealed = await self.seal(stored, secrets)
        before = Versioned(stored.object_name, stored.record, stored.etag)
        replaced = await self._records.replace(before, stored.record)
        return Stored(stored.owner, stored.record, replaced.etag)

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

        async def attempt() -> Stored:
            stored = await self.read(owner, connection_id)
            change(stored.record)
            return await self.replace(stored, secrets)

        return await self._records.compete(object_name(owner, connection_id), attempt)

    def hold(
        self, stored: Stored, needs_work: Callable[[ConnectionRecord], bool]
    ) -> AbstractAsyncContextManager[Lease[ConnectionRecord] | ConnectionRecord]:
        """Holds a connection while its tokens are renewed; others may change the rest of it.

        Args:
            stored: The connection.
            needs_work: Says of the record whether it is still to be held.

        Raises:
            ObjectMissing: It is gone.
            Conflict: Another instance holds it until the scope is nearly over.
        """
        return self._records.hold(stored.object_name, needs_work, None, _BUSY)

    async def delete(self, owner: str, record: ConnectionRecord) -> None:
        """Deletes a connection, if there is one, and its work item."""
        await self._records.delete(object_name(owner, record.id))
        await self.forget_work(owner, record)

    async def delete_abandoned(self, stored: Stored) -> bool:
        """Deletes a connection unless it was changed since it was read, and says whether it did."""
        try:
            # Changes that others make from now on fail.
            before = Versioned(stored.object_name, stored.record, stored.etag)
            await self._records.replace(before, stored.record)
        except ObjectChanged:
            return False
        await self._records.delete(stored.object_name)
        return True

    async def plan_work(self, owner: str, record: ConnectionRecord, due: datetime) -> None:
        """Adds a work item, by which housekeeping finds a connection that is not made to its end.

        Args:
            owner: Whose it is.
            record: The connection, which remembers the time.
            due: From when on.
        """
        record.work_due_at = due
        await self._work_items.add(_work_item(owner, record), due)

    async def forget_work(self, owner: str, record: ConnectionRecord) -> None:
        """Removes the work item of a connection, if there is one."""
        if record.work_due_at is not None:
            # Housekeeping removes it where this fails.
            with suppress(StorageUnavailable):
                await self._work_items.remove(_work_item(owner, record), record.work_due_at)

    async def remove_abandoned(self, owner: str, connection_id: str) -> bool | None:
        """Deletes a connection that was abandoned while it was being made.

        Returns:
            Whether it was deleted; None where it is still being made.
        """
        try:
            stored = await self.read(owner, connection_id)
        except NotFound:
            return False
        record = stored.record
        if record.is_abandoned:
            return True if await self.delete_abandoned(stored) else None
        return None if record.status not in ("connected", "authorization_failed") else False

    async def has_old_seal(self, stored: Stored) -> bool:
        """Returns whether the secrets are encrypted with a key that is being replaced."""
        sealed = stored.record.sealed
        return sealed is not None and not await self._box.is_current(sealed)

    async def secrets(self, stored: Stored) -> Secrets:
        """Returns the secrets of a connection.

        Raises:
            NotConfigured: Their key is missing.
        """
        if stored.record.sealed is None:
            return Secrets()
        return await self._box.decrypt(stored.record.sealed, stored.seal_binding)

    async def seal_state(self, owner: str, connection_id: str) -> str:
        """Returns a new state for an authorization: only we can read from it whose it is.

        Raises:
            NotConfigured: There is no key.
        """
        return await self._box.seal_ids(owner, connection_id)

    async def open_state(self, state: str) -> tuple[str, str] | None:
        """Returns owner and id of the connection that a state is of; None if we never made it."""
        try:
            return await self._box.open_ids(state)
        except NotConfigured:
            return None

    async def seal(self, stored: Stored, secrets: Secrets) -> str | None:
        """Returns the encrypted secrets of a connection; None where there are none."""
        return await self._seal(secrets, stored.seal_binding)

    async def _seal(self, secrets: Secrets, binding: str) -> str | None:
        return None if secrets.is_empty else await self._box.encrypt(secrets, binding)


def _present(owner: str, found: Versioned[ConnectionRecord]) -> Stored:
    found.record.end_authorization_in_time()
    return Stored(owner, found.record, found.etag)


def _work_item(owner: str, record: ConnectionRecord) -> WorkItem:
    return WorkItem(kind="connection", owner=owner, id=record.id)


class Activity:
    """Knows when this instance used connections, and tells the others about once a minute.

    Args:
        store: Stores connections.
    """

    def __init__(self, store: ConnectionStore) -> None:
        self._store = store
        self._used: dict[str, datetime] = {}
        self._writing: set[str] = set()

    async def note(self, stored: Stored) -> None:
        """Notes that a connection is used now."""
        moment = now()
        self.forget(stored.key)
        self._used[stored.key] = moment
        if len(self._used) > _MOST_KNOWN:
            self.forget(next(iter(self._used)))
        # Of calls that come together one writes for all.
        if stored.key not in self._writing:
            self._writing.add(stored.key)
            try:
                await self._tell(stored, moment)
            finally:
                self._writing.discard(stored.key)

    def latest(self, stored: Stored) -> ConnectionRecord:
        """Returns the record with what this instance knows better."""
        record = stored.record
        moment = max(record.last_activity, self._used.get(stored.key, record.last_activity))
        return record.model_copy(update={"last_activity": moment})

    def forget(self, key: str) -> None:
        """Drops a connection."""
        self._used.pop(key, None)

    async def _tell(self, stored: Stored, moment: datetime) -> None:
        def change(record: ConnectionRecord) -> None:
            record.last_activity = max(record.last_activity, moment)

        # A use does not fail because nobody is told of it.
        with suppress(GatewayError):
            is_behind = moment - stored.record.last_activity > ACTIVITY_STEP
            if is_behind or await self._store.has_old_seal(stored):
                await self._store.change(stored.owner, stored.record.id, change)
