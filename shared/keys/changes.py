"""What ``admin`` changes: a line in the log and a stored record of each change."""

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from shared.auth import Principal
from shared.errors import BUG, GatewayError
from shared.storage import ObjectStore, Record, Records, new_id

logger = logging.getLogger(__name__)

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
        change = Change(
            at=datetime.now(UTC), who=who.name, what=what, target=target, details=details or {}
        )
        stored = await self._records.create(f"changes/{new_id()}.json", change)
        outcome = BUG.code
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
                done = change.model_copy(update={"outcome": outcome})
                await self._records.replace(stored, done)
            except GatewayError as error:
                logger.warning("The outcome of a change was not recorded: %s", error.code)
