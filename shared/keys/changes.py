"""What ``admin`` changes: a line in the log and a stored record of each change."""

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from shared.auth import Principal
from shared.errors import BUG, GatewayError
from shared.parallel import gather_limited
from shared.storage import ObjectStore, Record, RecordPage, Records, Versioned, new_id, pseudonym_of

logger = logging.getLogger(__name__)

FOLDER = "changes/"
PARALLEL_WRITES = 16
PAGE = 100

BEGUN = "begun"
"""Outcome of a change that is being made, or whose process died."""


class Change(Record):
    """One change.

    Attributes:
        at: When it began.
        who: Name of the principal that made it.
        what: What was done, such as ``key_create``.
        target: The key or the principal that was changed.
        details: What it was changed to, without secrets.
        outcome: ``begun``, ``ok``, or the code of the error.
    """

    at: datetime
    who: str
    what: str
    target: str
    details: Mapping[str, Any]
    outcome: str = BEGUN


class AdminChanges:
    """The changes, one record each, in ``changes/``, newest first.

    Args:
        state: The container that they are in.
    """

    def __init__(self, state: ObjectStore) -> None:
        self._records = Records(state, Change)

    async def list(self, limit: int, cursor: str | None) -> RecordPage[Change]:
        """Returns the next changes, newest first.

        Args:
            limit: Maximum number of changes.
            cursor: Where to begin, from the last page.

        Raises:
            ValueError: The cursor is not one that a listing gave.
            StorageUnavailable: They cannot be read.
        """
        return await self._records.list(FOLDER, limit, cursor)

    async def forget(self, principal: str) -> None:
        """Puts a pseudonym in place of a principal's name in all changes.

        Raises:
            StorageUnavailable: Storage failed; it can be repeated.
        """
        cursor: str | None = None
        while True:
            page = await self._records.list(FOLDER, PAGE, cursor)
            named = [each for each in page.records if principal in _names(each.record)]
            await gather_limited(PARALLEL_WRITES, (self._rename(each, principal) for each in named))
            cursor = page.cursor
            if cursor is None:
                return

    async def _rename(self, stored: Versioned[Change], principal: str) -> None:
        def rename(change: Change) -> None:
            pseudonym = pseudonym_of(principal)
            if change.who == principal:
                change.who = pseudonym
            if change.target == principal:
                change.target = pseudonym

        await self._records.change(stored.name, rename)

    @asynccontextmanager
    async def record(
        self, who: Principal, what: str, target: str, details: Mapping[str, Any] | None = None
    ) -> AsyncIterator[None]:
        """Records the change that the block makes, before it and with its outcome after it.

        Args:
            who: Who makes it.
            what: What is done.
            target: The key or the principal that is changed.
            details: What it is changed to, without secrets.

        Raises:
            StorageUnavailable: The change cannot be recorded, and is not made.
        """

        def end(change: Change) -> None:
            change.outcome = outcome

        change = Change(
            at=datetime.now(UTC), who=who.name, what=what, target=target, details=details or {}
        )
        stored = await self._records.create(f"{FOLDER}{new_id()}.json", change)
        outcome = str(BUG.code)
        try:
            yield
            outcome = "ok"
        except GatewayError as error:
            outcome = error.code
            raise
        finally:
            line = {"who": who.name, "what": what, "target": target, "outcome": outcome}
            logger.info("admin %s", json.dumps(line))
            try:
                # As it is stored now: a deletion puts a pseudonym into its own record, too.
                await self._records.change(stored.name, end)
            except GatewayError as error:
                logger.warning("The outcome of a change was not recorded: %s", error.code)


def _names(change: Change) -> tuple[str, str]:
    return (change.who, change.target)
