"""Runs an operation once for each idempotency key, however many instances are asked to at once.

A record is created before the operation runs. Its creator holds a lease and renews it by writing the
record again; whoever comes with the same key waits, or takes over when the lease has run out because its
holder died. The clock of storage says when, because those of instances may differ. Afterwards the record
holds the result.
"""

import asyncio
import hashlib
import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from shared.deadline import Deadline
from shared.errors import Conflict, GatewayError, IdempotencyMismatch, StorageUnavailable
from shared.storage.ids import Operation, owner_key
from shared.storage.objects import (
    ObjectChanged,
    ObjectConflict,
    ObjectExists,
    ObjectMissing,
    ObjectStore,
)
from shared.storage.persistence import ANSWER_SECONDS
from shared.storage.service import Storage

LAST_WRITE_SECONDS = 30.0
"""How long the result of a run is tried to be written down while storage fails."""

logger = logging.getLogger(__name__)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)

    request: str
    holder: str
    seed: str
    began_at: datetime
    state: Literal["running", "released", "done"]
    result: Any = None

    def operation(self, *, is_repeat: bool) -> Operation:
        return Operation(bytes.fromhex(self.seed), self.began_at, is_repeat)


@dataclass
class _Claim:
    """A record that this run holds, as it was last written."""

    name: str
    record: _Record
    etag: str
    is_repeat: bool


class IdempotencyStore:
    """The keys of all principals and what came of them.

    Args:
        storage: Where the records are.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

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
        state = self._storage.state
        digest = hashlib.sha256(f"{purpose} {key}".encode()).hexdigest()
        name = f"idempotency/{owner_key(principal)}/{digest}.json"
        claims = _Claims(state, name, hashlib.sha256(request).hexdigest(), self._storage)
        claim = await deadline.wait_for(claims.claim_or_wait(deadline))
        if isinstance(claim, _Record):
            return claim.result, True
        async with _renewed(state, claim, self._storage):
            try:
                result = await work(claim.record.operation(is_repeat=claim.is_repeat))
            except BaseException:
                claim.record = claim.record.model_copy(update={"state": "released"})
                raise
            claim.record = claim.record.model_copy(update={"state": "done", "result": result})
        return result, False


class _Claims:
    """Attempts to claim one record.

    Args:
        state: Where it is.
        name: Its name.
        request: What the caller asks for, as a digest.
        storage: Tells the time, and how long leases and pauses are.
    """

    def __init__(self, state: ObjectStore, name: str, request: str, storage: Storage) -> None:
        self._state = state
        self._name = name
        self._request = request
        self._storage = storage
        self._holder = secrets.token_hex(16)

    async def claim_or_wait(self, deadline: Deadline) -> _Claim | _Record:
        """Returns our claim, or the record once another run has finished it."""
        pause = self._storage.timing.first_poll
        error: GatewayError = Conflict(
            "The first request with this idempotency key is still being answered. "
            "Try again after the time in Retry-After.",
            self._storage.timing.renewal,
        )
        # Most keys are new; who waits for another run expects its record.
        attempts = itertools.chain([self._create_or_take], itertools.repeat(self._take_or_create))
        for attempt in attempts:
            try:
                claim = await attempt()
            except ObjectConflict:
                # Another run was faster; what it does shows at the next look.
                pass
            except ObjectMissing:
                error = StorageUnavailable(
                    "Storage refuses the record of this idempotency key as one that exists, and does "
                    "not have it. Try again."
                )
            else:
                if not (isinstance(claim, _Record) and claim.state != "done"):
                    return claim
            if deadline.remaining() < pause + ANSWER_SECONDS:
                raise error
            await asyncio.sleep(pause)
            pause = min(self._storage.timing.longest_poll, pause * 2)
        raise AssertionError("unreachable: attempts never end")

    async def _create_or_take(self) -> _Claim | _Record:
        with suppress(ObjectExists):
            return await self._create()
        return await self._take()

    async def _take_or_create(self) -> _Claim | _Record:
        with suppress(ObjectMissing):
            return await self._take()
        return await self._create_or_take()

    async def _create(self) -> _Claim:
        operation = Operation.begin(self._storage.clock())
        fresh = _Record(
            request=self._request,
            holder=self._holder,
            seed=operation.seed.hex(),
            began_at=operation.began_at,
            state="running",
        )
        info = await self._state.create(self._name, fresh.model_dump_json().encode())
        return _Claim(self._name, fresh, info.etag, is_repeat=False)

    async def _take(self) -> _Claim | _Record:
        """Returns the record as another run holds or finished it, or takes it over."""
        data, info = await self._state.read(self._name)
        found = _Record.model_validate_json(data)
        if found.request != self._request:
            raise IdempotencyMismatch(
                "This idempotency key was used for another request. Use a new key for each request."
            )
        is_held = found.state == "running" and info.age_seconds < self._storage.timing.lease
        if found.state == "done" or is_held:
            return found
        taken = found.model_copy(update={"state": "running", "holder": self._holder})
        info = await self._state.replace(self._name, taken.model_dump_json().encode(), info.etag)
        return _Claim(self._name, taken, info.etag, is_repeat=True)


@asynccontextmanager
async def _renewed(state: ObjectStore, claim: _Claim, storage: Storage) -> AsyncIterator[None]:
    """Keeps the lease while the block runs, and writes down at the end what the block made of it."""
    is_over = asyncio.Event()

    async def renew() -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), storage.timing.renewal)
            is_last = is_over.is_set()
            await _write(state, claim, Deadline.after(LAST_WRITE_SECONDS) if is_last else None)
            if is_last:
                return

    # Never cancelled: of a write that was cut off nobody knows whether it happened.
    renewal = asyncio.create_task(renew())
    try:
        yield
    finally:
        is_over.set()
        await storage.background.finish(renewal)


async def _write(state: ObjectStore, claim: _Claim, deadline: Deadline | None) -> None:
    """Writes our record down; one that cannot be written is only logged, because the work goes on."""
    data = claim.record.model_dump_json().encode()
    try:
        try:
            claim.etag = (await state.replace(claim.name, data, claim.etag, deadline)).etag
        except ObjectChanged:
            # Ours all the same, where an earlier write was given up before its answer came.
            found, info = await state.read(claim.name)
            if _Record.model_validate_json(found).holder == claim.record.holder:
                claim.etag = (await state.replace(claim.name, data, info.etag, deadline)).etag
            else:
                logger.warning("The lease of an idempotency key was lost to another run")
    except (ObjectConflict, ObjectMissing, GatewayError) as error:
        logger.warning("The record of an idempotency key was not written: %s", type(error).__name__)
