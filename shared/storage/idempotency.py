"""Runs an operation once for each idempotency key, however many instances are asked to at once.

A record is created before the operation runs. Its creator holds a lease and renews it; whoever comes
with the same key waits, or takes over when the lease has run out because its holder died. Afterwards the
record holds the result.
"""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from shared.background import Background
from shared.deadline import Deadline
from shared.errors import Conflict, GatewayError, IdempotencyMismatch
from shared.storage.ids import Operation, owner_key
from shared.storage.objects import (
    ObjectChanged,
    ObjectConflict,
    ObjectExists,
    ObjectMissing,
    ObjectStore,
)
from shared.storage.persistence import persist
from shared.storage.service import Storage

LEASE_SECONDS = 20.0
RENEWAL_SECONDS = 5.0
POLL_SECONDS = (0.1, 1.0)
"""First and longest pause between two looks at a record that somebody else works on."""
_ANSWER_SECONDS = 1.0
"""Left of the deadline for saying that the first run is not done yet."""

logger = logging.getLogger(__name__)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)

    request: str
    holder: str
    seed: str
    began_at: datetime
    state: Literal["running", "released", "done"]
    lease_until: datetime
    result: Any = None

    def operation(self, *, is_repeat: bool) -> Operation:
        return Operation(bytes.fromhex(self.seed), self.began_at, is_repeat)

    @property
    def is_held(self) -> bool:
        return self.state == "running" and datetime.now(UTC) < self.lease_until


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
        state = await deadline.wait_for(self._storage.state())
        digest = hashlib.sha256(f"{purpose} {key}".encode()).hexdigest()
        name = f"idempotency/{owner_key(principal)}/{digest}.json"
        claim = await deadline.wait_for(
            _claim_or_wait(state, name, hashlib.sha256(request).hexdigest(), deadline)
        )
        if isinstance(claim, _Record):
            return claim.result, True
        async with _renewed(state, claim, self._storage.background):
            try:
                result = await work(claim.record.operation(is_repeat=claim.is_repeat))
            except BaseException:
                claim.record = claim.record.model_copy(update={"state": "released"})
                raise
            claim.record = claim.record.model_copy(update={"state": "done", "result": result})
        return result, False


async def _claim_or_wait(
    state: ObjectStore, name: str, request: str, deadline: Deadline
) -> _Claim | _Record:
    pause, longest = POLL_SECONDS
    while True:
        with suppress(ObjectConflict, ObjectMissing):
            claim = await _try_to_claim(state, name, request)
            if not (isinstance(claim, _Record) and claim.state != "done"):
                return claim
            if deadline.remaining() < pause + _ANSWER_SECONDS:
                raise Conflict(
                    "The first request with this idempotency key is still being answered. "
                    "Try again after the time in Retry-After.",
                    RENEWAL_SECONDS,
                )
            await asyncio.sleep(pause)
            pause = min(longest, pause * 2)


async def _try_to_claim(state: ObjectStore, name: str, request: str) -> _Claim | _Record:
    """Returns our claim, or the record as somebody else holds or finished it."""
    operation = Operation.begin()
    fresh = _Record(
        request=request,
        holder=secrets.token_hex(16),
        seed=operation.seed.hex(),
        began_at=operation.began_at,
        state="running",
        lease_until=_lease(),
    )
    try:
        info = await state.create(name, fresh.model_dump_json().encode())
    except ObjectExists:
        pass
    else:
        return _Claim(name, fresh, info.etag, is_repeat=False)
    data, info = await state.read(name)
    found = _Record.model_validate_json(data)
    if found.request != request:
        raise IdempotencyMismatch(
            "This idempotency key was used for another request. Use a new key for each request."
        )
    if found.state == "done" or found.is_held:
        return found
    mine = {"state": "running", "holder": fresh.holder, "lease_until": _lease()}
    taken = found.model_copy(update=mine)
    info = await state.replace(name, taken.model_dump_json().encode(), info.etag)
    return _Claim(name, taken, info.etag, is_repeat=True)


@asynccontextmanager
async def _renewed(
    state: ObjectStore, claim: _Claim, background: Background
) -> AsyncIterator[None]:
    """Keeps the lease while the block runs, and writes down at the end what the block made of it."""
    is_over = asyncio.Event()

    async def renew() -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), RENEWAL_SECONDS)
            if not is_over.is_set():
                claim.record = claim.record.model_copy(update={"lease_until": _lease()})
            is_last = is_over.is_set()
            await _write(state, claim)
            if is_last:
                return

    # Never cancelled: of a write that was cut off nobody knows whether it happened.
    renewal = asyncio.create_task(renew())
    try:
        yield
    finally:
        is_over.set()
        await background.finish(renewal)


async def _write(state: ObjectStore, claim: _Claim) -> None:
    """Writes our record down; one that cannot be written is only logged, because the work goes on."""
    data = claim.record.model_dump_json().encode()
    try:
        try:
            etag = claim.etag
            claim.etag = (await persist(lambda: state.replace(claim.name, data, etag))).etag
        except ObjectChanged:
            # Ours all the same, where only the answer to an earlier write was lost.
            found, info = await state.read(claim.name)
            if _Record.model_validate_json(found).holder == claim.record.holder:
                claim.etag = (await state.replace(claim.name, data, info.etag)).etag
            else:
                logger.warning("The lease of an idempotency key was lost to another run")
    except (ObjectConflict, ObjectMissing, GatewayError) as error:
        logger.warning("The record of an idempotency key was not written: %s", type(error).__name__)


def _lease() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS)
