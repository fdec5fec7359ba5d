"""When connections were used last."""

from contextlib import suppress
from datetime import datetime, timedelta

from shared.connections.records import ConnectionRecord, Stored, now
from shared.connections.store import ConnectionStore
from shared.errors import GatewayError

ACTIVITY_STEP = timedelta(minutes=1)
"""How far behind ``last_activity`` of a stored record may be: not every call is worth a write."""

_MOST_KNOWN = 1000


class Activity:
    """Knows when this instance used connections, and tells the others about once a minute.

    Args:
        store: Where connections are.
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
