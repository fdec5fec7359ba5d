"""Runs an operation once for each idempotency key, however many instances are asked to at once.

A record is created and held before the operation runs; whoever comes with the same key waits for it, or
takes it over where its holder died. Afterwards the record holds the result.
"""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from shared.deadline import Deadline
from shared.errors import IdempotencyMismatch
from shared.storage.ids import Operation, owner_key
from shared.storage.leases import Lease, LeasedRecord, LeasedRecords
from shared.storage.service import Storage

_BUSY = (
    "The first request with this idempotency key is still being answered. "
    "Try again after the time in Retry-After."
)


class _Record(LeasedRecord):
    """A key.

    Attributes:
        request: What was asked for with it, as a digest.
        seed: Of the operation.
        began_at: When its first run began.
        is_done: Whether there is a result.
        result: What the run returned.
    """

    request: str
    seed: str
    began_at: datetime
    is_done: bool = False
    result: Any = None

    def operation(self, *, is_repeat: bool) -> Operation:
        return Operation(bytes.fromhex(self.seed), self.began_at, is_repeat)


class IdempotencyStore:
    """The keys of all principals and what came of them.

    Args:
        storage: Where the records are.
    """

    def __init__(self, storage: Storage) -> None:
        self._clock = storage.clock
        self._records = LeasedRecords(storage.state, _Record, storage.timing, storage.background)

    async def run(
        self,
        principal: str,
        key: str,
        request: bytes,
        work: Callable[[Operation], Awaitable[Any]],
        deadline: Deadline,
        *,
        purpose: str = "request",
    ) -> tuple[Any, bool]:
        """Runs the work, or returns what an earlier run with the key returned.

        Only results are kept: after an error the next request with the key runs the work again, as the
        same operation.

        Args:
            principal: Who is asking; keys of different principals are different keys.
            key: What the caller calls the operation.
            request: What the caller asks for; the same key with another request is a mistake.
            work: Returns a JSON value.
            deadline: How long to wait for a run that somebody else began.
            purpose: Keeps keys that callers choose apart from our own.

        Returns:
            The result, and whether an earlier run returned it.

        Raises:
            IdempotencyMismatch: The key was used for another request.
            Conflict: Another run is still under way when the deadline is near.
            StorageUnavailable: The key cannot be looked up, so nothing was run.
        """
        digest = hashlib.sha256(f"{purpose} {key}".encode()).hexdigest()
        name = f"idempotency/{owner_key(principal)}/{digest}.json"
        request_digest = hashlib.sha256(request).hexdigest()

        def fresh() -> _Record:
            operation = Operation.begin(self._clock())
            return _Record(
                request=request_digest, seed=operation.seed.hex(), began_at=operation.began_at
            )

        def needs_work(found: _Record) -> bool:
            if found.request != request_digest:
                raise IdempotencyMismatch(
                    "This idempotency key was used for another request. "
                    "Use a new key for each request."
                )
            return not found.is_done

        async with self._records.hold(name, needs_work, fresh, deadline, _BUSY) as found:
            if not isinstance(found, Lease):
                return found.result, True
            result = await work(found.record.operation(is_repeat=found.is_repeat))
            found.finish(is_done=True, result=result)
        return result, False
