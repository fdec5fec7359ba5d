"""Records of several instances in one store, on each kind of storage."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError
from pytest_mock import MockerFixture

from shared.background import Background
from shared.deadline import remaining_seconds, time_limit
from shared.errors import Conflict, StorageUnavailable
from shared.storage import (
    Lease,
    LeasedRecord,
    LeasedRecords,
    ObjectChanged,
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    ObjectStore,
    Record,
    Records,
)
from shared.storage.leases import Renewal
from shared.timing import Timing

NAME = "records/one.json"
BUSY = "Somebody holds it."
NEVER_RENEWED = Timing(lease=2, renewal=1000)


class Counter(Record):
    value: int = 0


class Job(LeasedRecord):
    result: str | None = None
    note: str = ""


class Unreliable:
    """A store whose next writes are done, but said to have failed.

    Attributes:
        lost_answers: How many are left.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.lost_answers = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def replace(self, *arguments: Any) -> ObjectInfo:
        info = await self._store.replace(*arguments)
        if self.lost_answers:
            self.lost_answers -= 1
            raise StorageUnavailable("Lost.")
        return info


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    background = Background()
    yield background
    await background.aclose()


@pytest.fixture
def counters(store: ObjectStore) -> Records[Counter]:
    return Records(store, Counter)


def increment(counter: Counter) -> int:
    counter.value += 1
    return counter.value


class Runner:
    """Holds jobs in one store, as an instance of the app."""

    def __init__(
        self, store: ObjectStore, background: Background, timing: Timing = NEVER_RENEWED
    ) -> None:
        self.jobs = LeasedRecords(store, Job, timing, background)
        self.began = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def run(self, seconds: float = 20) -> tuple[str | None, str]:
        """Does the job unless it is done; returns the result, and how this run came to it."""
        async with (
            time_limit(seconds),
            self.jobs.hold(NAME, lambda job: job.result is None, Job, BUSY) as found,
        ):
            if not isinstance(found, Lease):
                return found.result, "found"
            self.began.set()
            await self.goes_on.wait()
            found.finish(result="done")
            return found.record.result, "repeated" if found.is_repeat else "created"


async def test_record_says_the_version_of_what_is_stored(
    store: ObjectStore, counters: Records[Counter]
) -> None:
    await counters.create(NAME, Counter(value=7))
    assert (await store.read(NAME))[0] == b'{"v":1,"value":7}'
    assert (await counters.get(NAME)).record == Counter(value=7)


async def test_record_of_a_later_version_is_refused(
    store: ObjectStore, counters: Records[Counter]
) -> None:
    await store.create(NAME, b'{"v":2,"value":7}')
    with pytest.raises(ValidationError):
        await counters.get(NAME)


async def test_record_is_created_once(counters: Records[Counter]) -> None:
    created = await counters.create(NAME, Counter())
    with pytest.raises(ObjectExists):
        await counters.create(NAME, Counter())
    assert (await counters.get(NAME)).etag == created.etag


async def test_record_that_is_not_there_is_missing(counters: Records[Counter]) -> None:
    with pytest.raises(ObjectMissing):
        await counters.get(NAME)
    with pytest.raises(ObjectMissing):
        await counters.change(NAME, increment)
    assert await counters.find(NAME) is None
    assert await counters.delete(NAME) is False


async def test_record_is_replaced_only_as_it_was_read(counters: Records[Counter]) -> None:
    created = await counters.create(NAME, Counter())
    replaced = await counters.replace(created, Counter(value=1))
    with pytest.raises(ObjectChanged):
        await counters.replace(created, Counter(value=2))
    await counters.replace(replaced, Counter(value=3))
    assert (await counters.get(NAME)).record.value == 3


async def test_change_of_what_is_not_there_begins_with_the_default(
    counters: Records[Counter],
) -> None:
    assert await counters.change(NAME, increment, default=Counter) == 1
    assert await counters.change(NAME, increment, default=Counter) == 2


async def test_every_change_of_many_writers_is_kept(store: ObjectStore) -> None:
    # Two instances: within one they take turns, between them they compete.
    instances = [Records(store, Counter) for _ in range(2)]
    changes = [
        records.change(NAME, increment, default=Counter) for records in instances for _ in range(10)
    ]
    assert sorted(await asyncio.gather(*changes)) == list(range(1, 21))
    assert (await instances[0].get(NAME)).record.value == 20


async def test_change_that_others_overtake_every_time_is_a_conflict(
    store: ObjectStore, counters: Records[Counter], mocker: MockerFixture
) -> None:
    await counters.create(NAME, Counter())
    replace = mocker.patch.object(store, "replace", side_effect=ObjectChanged(NAME))
    with pytest.raises(Conflict, match="Retry the request"):
        await Records(store, Counter, attempts=4).change(NAME, increment)
    assert replace.await_count == 4


async def test_change_that_raises_changes_nothing(counters: Records[Counter]) -> None:
    await counters.create(NAME, Counter())

    def refuse(counter: Counter) -> None:
        counter.value = 5
        raise LookupError

    with pytest.raises(LookupError):
        await counters.change(NAME, refuse)
    assert (await counters.get(NAME)).record.value == 0


async def test_listing_goes_on_where_a_page_ended(counters: Records[Counter]) -> None:
    for value in range(5):
        await counters.create(f"records/{value}.json", Counter(value=value))
    await counters.create("others/9.json", Counter(value=9))
    first = await counters.list("records/", limit=3)
    assert [each.record.value for each in first.records] == [0, 1, 2]
    rest = await counters.list("records/", limit=3, cursor=first.cursor)
    assert [each.record.value for each in rest.records] == [3, 4]
    assert rest.cursor is None


async def test_lease_ends_with_its_block(store: ObjectStore, background: Background) -> None:
    runner = Runner(store, background)
    runner.goes_on.set()
    assert await runner.run() == ("done", "created")
    assert (await runner.jobs.get(NAME)).record == Job(result="done")
    assert await Runner(store, background).run() == ("done", "found")


async def test_block_that_fails_releases_the_record(
    store: ObjectStore, background: Background
) -> None:
    jobs = LeasedRecords(store, Job, Timing(), background)
    with pytest.raises(LookupError):
        async with jobs.hold(NAME, lambda job: True, Job, BUSY):
            raise LookupError
    assert (await jobs.get(NAME)).record == Job()
    later = Runner(store, background, Timing())
    later.goes_on.set()
    assert await later.run() == ("done", "repeated")


async def test_one_of_many_holds_a_record_and_the_others_wait_for_it(
    store: ObjectStore, background: Background
) -> None:
    runners = [Runner(store, background, Timing()) for _ in range(5)]
    for runner in runners:
        runner.goes_on.set()
    ways = [way for _, way in await asyncio.gather(*(each.run() for each in runners))]
    assert sorted(ways) == ["created", "found", "found", "found", "found"]


async def test_held_record_is_a_conflict_when_the_time_is_over(
    store: ObjectStore, background: Background
) -> None:
    holder = Runner(store, background, Timing())
    held = asyncio.create_task(holder.run())
    await holder.began.wait()
    with pytest.raises(Conflict, match=BUSY):
        await Runner(store, background, Timing()).run(seconds=1.5)
    holder.goes_on.set()
    assert await held == ("done", "created")


async def test_renewed_lease_outlives_its_length(
    store: ObjectStore, background: Background
) -> None:
    timing = Timing(lease=2, renewal=0.2)
    holder = Runner(store, background, timing)
    held = asyncio.create_task(holder.run())
    await holder.began.wait()
    with pytest.raises(Conflict):
        await Runner(store, background, timing).run(seconds=5)
    holder.goes_on.set()
    assert await held == ("done", "created")


async def test_record_of_a_dead_holder_is_taken_over_and_not_written_by_it_any_more(
    store: ObjectStore, background: Background
) -> None:
    # A holder that never renews its lease is as good as dead.
    dead = Runner(store, background)
    hanging = asyncio.create_task(dead.run())
    await dead.began.wait()
    heir = Runner(store, background)
    inherited = asyncio.create_task(heir.run())
    async with asyncio.timeout(60):
        await heir.began.wait()
    dead.goes_on.set()
    await hanging
    assert (await dead.jobs.get(NAME)).record.result is None
    heir.goes_on.set()
    assert await inherited == ("done", "repeated")
    assert (await heir.jobs.get(NAME)).record == Job(result="done")


async def test_holder_knows_its_own_write_whose_answer_was_lost(
    store: ObjectStore, background: Background
) -> None:
    unreliable: Any = Unreliable(store)
    holder = Runner(unreliable, background, Timing(lease=20, renewal=0.05))
    held = asyncio.create_task(holder.run())
    await holder.began.wait()
    unreliable.lost_answers = 2
    async with asyncio.timeout(60):
        while unreliable.lost_answers:
            await asyncio.sleep(0.01)
    holder.goes_on.set()
    assert await held == ("done", "created")
    assert (await holder.jobs.get(NAME)).record == Job(result="done")


async def test_holder_who_is_cancelled_releases_the_record(
    store: ObjectStore, background: Background
) -> None:
    holder = Runner(store, background, Timing())
    held = asyncio.create_task(holder.run())
    await holder.began.wait()
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)
    assert (await holder.jobs.get(NAME)).record == Job()


async def test_end_of_a_lease_keeps_what_others_changed_meanwhile(
    store: ObjectStore, background: Background
) -> None:
    runner = Runner(store, background)
    running = asyncio.create_task(runner.run())
    await runner.began.wait()
    for note in ("first", "second"):
        found = await runner.jobs.get(NAME)
        await runner.jobs.replace(found, found.record.model_copy(update={"note": note}))
    runner.goes_on.set()
    await running
    assert (await runner.jobs.get(NAME)).record == Job(result="done", note="second")


async def test_record_that_must_exist_is_not_made_to_be_held(
    store: ObjectStore, background: Background
) -> None:
    jobs = LeasedRecords(store, Job, NEVER_RENEWED, background)
    with pytest.raises(ObjectMissing):
        async with jobs.hold(NAME, lambda job: True, None, BUSY):
            pass
    await jobs.create(NAME, Job(note="here"))
    async with jobs.hold(NAME, lambda job: True, None, BUSY) as lease:
        assert isinstance(lease, Lease)
        lease.finish(result="done")
    assert (await jobs.get(NAME)).record == Job(result="done", note="here")


async def test_renewal_does_not_end_with_the_scope_that_it_began_in() -> None:
    left: list[float] = []

    async def renew() -> bool:
        left.append(remaining_seconds())
        return False

    async with time_limit(60):
        renewal = Renewal(renew, 0)
    await renewal.wait()
    assert left == [math.inf]
