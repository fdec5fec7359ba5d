"""Idempotency keys: an operation runs once for each, however many instances are asked to at once.

A record is created and held before the operation runs; another run with the same key waits for it, or
takes it over where its holder died. Afterwards the record holds the result.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

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
        request: Digest of the request that was made with it.
        seed: Seed of the operation.
        began_at: When its first run began.
        is_done: Whether there is a result.
        result: The result of the run.
    """

    request: str
    seed: str
    began_at: datetime
    is_done: bool = False
    result: Any = None

    def operation(self, *, is_repeat: bool) -> Operation:
        return Operation(bytes.fromhex(self.seed), self.began_at, is_repeat)


class Claim:
    """The right to run an operation, or the result of an earlier run.

    Args:
        operation: The operation, the same for every run with the key; gives ids to what is stored.

    Attributes:
        is_done: Whether there is a result.
    """

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.is_done = False
        self._result: Any = None

    @property
    def result(self) -> Any:
        """The result, a JSON value; setting it ends the operation."""
        return self._result

    @result.setter
    def result(self, result: Any) -> None:
        self._result, self.is_done = result, True


class IdempotencyStore:
    """The keys of all principals and the results of their operations.

    Args:
        storage: The storage of the records.
    """

    def __init__(self, storage: Storage) -> None:
        self._clock = storage.clock
        self._records = LeasedRecords(storage.state, _Record, storage.timing, storage.background)

    @asynccontextmanager
    async def claim(
        self,
        principal: str,
        key: str,
        request: bytes,
        *,
        purpose: str = "request",
    ) -> AsyncIterator[Claim]:
        """Claims a key for the block, or finds what an earlier run with it returned.

        The block sets the claim's result. Only results are kept: after an error the next request with
        the key runs the operation again, with the same ids.

        Args:
            principal: The principal; keys of different principals are different keys.
            key: The key.
            request: The request; the same key with another request is an error.
            purpose: Keeps keys that callers choose apart from our own.

        Yields:
            The claim; where it ``is_done`` there is nothing to run.

        Raises:
            IdempotencyMismatch: The key was used for another request.
            Conflict: Another run is still under way when the scope is nearly over.
            StorageUnavailable: The key cannot be looked up, so nothing may be run.
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

        async with self._records.hold(name, needs_work, fresh, _BUSY) as held:
            if not isinstance(held, Lease):
                claim = Claim(held.operation(is_repeat=True))
                claim.result = held.result
                yield claim
                return
            claim = Claim(held.record.operation(is_repeat=held.is_repeat))
            yield claim
            if claim.is_done:
                held.finish(is_done=True, result=claim.result)
