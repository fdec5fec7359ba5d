"""Instances whose clocks differ: what one holds the others leave alone, for as long as always."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.conversations import ConversationStore, OpenRun
from shared.deadline import time_limit
from shared.errors import Conflict
from shared.settings import load_settings
from shared.storage import (
    IdempotencyStore,
    MediaStore,
    Operation,
    Storage,
)
from shared.timing import Timing
from tests.waiting import until

MakeStorage = Callable[..., Storage]

SKEWS = pytest.mark.parametrize("skew", [-120, -25, 25, 120])


@pytest.fixture
async def make_storage(stored_environment: dict[str, str]) -> AsyncIterator[MakeStorage]:
    """Makes instances on one storage, whose clocks are some seconds ahead."""
    settings = load_settings(stored_environment)
    async with AsyncExitStack() as stack:

        def make(ahead: float = 0, timing: Timing | None = None) -> Storage:
            def clock() -> datetime:
                return datetime.now(UTC) + timedelta(seconds=ahead)

            storage = Storage(settings, timing=timing, clock=clock)
            stack.push_async_callback(storage.aclose)
            return storage

        yield make


@SKEWS
async def test_running_work_is_not_taken_over(make_storage: MakeStorage, skew: float) -> None:
    goes_on = asyncio.Event()
    runs: list[Operation] = []

    async def work(operation: Operation) -> str:
        runs.append(operation)
        await goes_on.wait()
        return "done"

    async def run(storage: Storage, seconds: float) -> tuple[Any, bool]:
        store = IdempotencyStore(storage)
        async with time_limit(seconds), store.claim("alice", "k", b"") as claim:
            if was_done := claim.is_done:
                return claim.result, was_done
            claim.result = await work(claim.operation)
        return claim.result, was_done

    # The later renewal: the age of the claim is what counts.
    first = asyncio.create_task(run(make_storage(skew), 60))
    await until(lambda: runs)
    with pytest.raises(Conflict):
        await run(make_storage(), 2)
    with pytest.raises(Conflict):
        await run(make_storage(-skew), 2)
    goes_on.set()
    assert await first == ("done", False)
    assert await run(make_storage(), 60) == ("done", True)
    assert len(runs) == 1


@SKEWS
async def test_work_of_a_dead_instance_is_taken_over_when_its_lease_is_over(
    make_storage: MakeStorage, skew: float
) -> None:
    # An instance that never renews its lease is as good as dead.
    timing = Timing(lease=2, renewal=1000)
    began = asyncio.Event()

    dead = IdempotencyStore(make_storage(skew, timing))

    async def hang() -> None:
        async with dead.claim("alice", "k", b""):
            began.set()
            await asyncio.Event().wait()

    hanging = asyncio.create_task(hang())
    await began.wait()
    store = IdempotencyStore(make_storage(0, timing))
    # Less than the skew: a lease that ended by the dead instance's clock would last longer.
    async with time_limit(20), store.claim("alice", "k", b"") as claim:
        assert (claim.operation.is_repeat, claim.is_done) == (True, False)
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


@SKEWS
async def test_turn_is_taken_over_when_its_lease_is_over_and_not_before(
    make_storage: MakeStorage, stored_environment: dict[str, str], skew: float
) -> None:
    settings = load_settings(stored_environment)
    timing = Timing(lease=2, renewal=1000)

    def store(ahead: float, own: Timing) -> ConversationStore:
        storage = make_storage(ahead, own)
        return ConversationStore(storage, MediaStore(storage, settings))

    dead = await store(skew, timing).begin_run("alice", None, "one", Operation.begin())
    for ahead in (0, -skew):
        with pytest.raises(Conflict):
            await store(ahead, Timing()).begin_run(
                "alice", dead.conversation_id, "two", Operation.begin()
            )
    patient = store(0, timing)

    async def take_over() -> OpenRun | None:
        with suppress(Conflict):
            return await patient.begin_run("alice", dead.conversation_id, "two", Operation.begin())
        return None

    run = await until(take_over)
    assert run is not None
    assert run.writer is not None
    await run.writer.close(status="complete")


@SKEWS
async def test_repeat_finds_the_turn_of_an_instance_whose_clock_differs(
    make_storage: MakeStorage, stored_environment: dict[str, str], skew: float
) -> None:
    settings = load_settings(stored_environment)

    def store(ahead: float) -> ConversationStore:
        storage = make_storage(ahead)
        return ConversationStore(storage, MediaStore(storage, settings))

    now = datetime.now(UTC)
    operation = Operation.begin(now + timedelta(seconds=skew))
    first = await store(0).begin_run("alice", None, "one", operation)
    again = Operation(operation.seed, operation.began_at, is_repeat=True)
    second = await store(-skew).begin_run("alice", None, "one", again)
    assert (first.writer is None, second.writer is None) == (False, False)
    assert second.writer is not None
    await second.writer.close(status="complete")
    page = await store(0).page("alice", second.conversation_id or "", 100)
    assert [each["content"] for each in page["messages"]] == ["one"]
