"""Logs that several instances write at once, each a `DayLog` of its own over the same store."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared.errors import BudgetSpent, LimitReached, RequestLimitReached, StorageUnavailable
from shared.settings import Limits
from shared.storage import FolderRoot, FolderStore, ObjectStore
from shared.usage import log_parts
from shared.usage.lines import Batch, Reserved, Sums, decode, encode
from shared.usage.log import DayLog
from shared.usage.log_parts import log_name, read_all
from tests.usage.support import NOON, Clock, released, reserved, settled
from tests.waiting import until

DAY = NOON.date()


def instances(store: ObjectStore, clock: Clock, number: int = 3) -> list[DayLog]:
    return [DayLog(store, "alice", DAY, clock) for _ in range(number)]


async def outcomes(
    logs: Sequence[DayLog], limits: Limits, calls: int, tokens: int = 0
) -> Counter[str]:
    """Reserves calls on all instances at once and counts how that ended."""
    results = await asyncio.gather(
        *(logs[n % len(logs)].reserve(reserved(tokens=tokens), limits) for n in range(calls)),
        return_exceptions=True,
    )
    return Counter(type(result).__name__ for result in results)


async def test_of_80_calls_on_three_instances_exactly_the_allowed_40_are_let_through(
    store: ObjectStore,
) -> None:
    logs = instances(store, Clock())
    limits = Limits(requests_per_day=40)
    assert await outcomes(logs, limits, 80) == {"list": 40, "BudgetSpent": 40}
    entries = [entry async for batch in read_all(store, "alice", DAY) for entry in batch.entries]
    assert len({entry.id for entry in entries if isinstance(entry, Reserved)}) == 40


async def test_all_instances_know_the_same_sums(store: ObjectStore) -> None:
    logs = instances(store, Clock())
    await outcomes(logs, Limits(), 30, tokens=7)
    for log in [*logs, *instances(store, Clock(), 1)]:
        await log.refresh()
        assert log.totals.sums == Sums(requests=30, tokens=210)


async def test_what_is_settled_on_one_instance_makes_room_on_another(store: ObjectStore) -> None:
    first, second = instances(store, Clock(), 2)
    limits = Limits(tokens_per_day=1000)
    big = reserved(tokens=900)
    await first.reserve(big, limits)
    with pytest.raises(BudgetSpent, match="tokens_per_day of 1000 has 100 left"):
        await second.reserve(reserved(tokens=200), limits)
    first.write(settled(big, tokens=300))
    await first.flush()
    await second.reserve(reserved(tokens=200), limits)
    await first.refresh()
    assert first.totals.sums.tokens == 500


async def test_call_that_never_reached_its_provider_is_no_request(store: ObjectStore) -> None:
    (log,) = instances(store, Clock(), 1)
    limits = Limits(requests_per_day=1, requests_per_minute=1, parallel=1)
    entry = reserved(tokens=10, usd=0.5)
    await log.reserve(entry, limits)
    log.write(settled(entry, reached=False))
    await log.flush()
    assert log.totals.sums == Sums()
    await log.reserve(reserved(), limits)


async def test_minute_slides(store: ObjectStore) -> None:
    clock = Clock()
    first, second = instances(store, clock, 2)
    limits = Limits(requests_per_minute=2)
    await first.reserve(reserved(clock()), limits)
    clock.advance(40)
    await second.reserve(reserved(clock()), limits)
    with pytest.raises(RequestLimitReached) as refused:
        await first.reserve(reserved(clock()), limits)
    assert refused.value.headers == {"Retry-After": "20"}
    clock.advance(20)
    await first.reserve(reserved(clock()), limits)
    clock.advance(10)
    with pytest.raises(RequestLimitReached) as refused:
        await second.reserve(reserved(clock()), limits)
    assert refused.value.headers == {"Retry-After": "30"}


async def test_minute_goes_on_at_midnight(store: ObjectStore) -> None:
    clock = Clock(NOON.replace(hour=23, minute=59, second=50))
    limits = Limits(requests_per_minute=1)
    await DayLog(store, "alice", DAY, clock).reserve(reserved(clock()), limits)
    clock.advance(20)
    tomorrow = clock().date()
    yesterday = DayLog(store, "alice", DAY, clock)
    log = DayLog(store, "alice", tomorrow, clock, previous=yesterday)
    with pytest.raises(RequestLimitReached):
        await log.reserve(reserved(clock()), limits)
    clock.advance(40)
    await DayLog(store, "alice", tomorrow, clock, yesterday).reserve(reserved(clock()), limits)


async def test_slot_is_free_when_its_call_ends_or_when_its_instance_has_died(
    store: ObjectStore,
) -> None:
    clock = Clock()
    first, second = instances(store, clock, 2)
    limits = Limits(parallel=1)
    entry = reserved()
    await first.reserve(entry, limits)
    with pytest.raises(RequestLimitReached):
        await second.reserve(reserved(), limits)
    first.write(released(entry))
    await first.flush()
    await second.reserve(reserved(), limits)
    with pytest.raises(RequestLimitReached):
        await first.reserve(reserved(), limits)
    clock.advance(231)
    await first.reserve(reserved(clock()), limits)


async def test_log_goes_on_in_further_parts(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_parts, "MAX_APPENDS", 3)
    first, second = instances(store, Clock(), 2)
    limits = Limits(requests_per_day=8)
    for _ in range(4):
        await first.reserve(reserved(), limits)
        await second.reserve(reserved(), limits)
    assert (await store.describe(log_name("alice", DAY, 3))).size
    for log in (first, second, *instances(store, Clock(), 1)):
        with pytest.raises(LimitReached):
            await log.reserve(reserved(), limits)
    assert sum([len(batch.entries) async for batch in read_all(store, "alice", DAY)]) == 8


async def test_long_log_is_opened_from_its_end(store: ObjectStore) -> None:
    clock = Clock()
    (log,) = instances(store, clock, 1)
    for _ in range(40):
        log.write(*(reserved(clock(), tokens=1) for _ in range(20)))
        await log.flush()
        clock.advance(60)
    (fresh,) = instances(store, clock, 1)
    await fresh.refresh()
    assert fresh.totals.sums == Sums(requests=800, tokens=800)
    assert len(fresh.totals.requests_since(clock().timestamp() - 120)) == 20
    since = clock().timestamp() - 300
    tail = await log_parts.read_tail(store, "alice", DAY, since)
    assert tail is not None
    read = [entry for batch in tail.batches for entry in batch.entries]
    assert len(read) < 800
    assert sum(isinstance(entry, Reserved) and entry.at > since for entry in read) == 80


async def test_line_that_a_failing_machine_cut_off_is_left_out(store: ObjectStore) -> None:
    first, second = instances(store, Clock(), 2)
    await first.reserve(reserved(), Limits(requests_per_day=9))
    size = (await store.describe(log_name("alice", DAY, 1))).size
    await store.append(log_name("alice", DAY, 1), b'{"v":1,"n":2,"su', size)
    for log in (first, second, *instances(store, Clock(), 1)):
        await log.reserve(reserved(), Limits(requests_per_day=9))
        assert sum([len(b.entries) async for b in read_all(store, "alice", DAY)]) == (
            log.totals.sums.requests
        )
    assert log.totals.sums.requests == 4


async def test_caller_who_leaves_while_the_limits_are_asked_counts_nothing(
    store: ObjectStore,
) -> None:
    (log,) = instances(store, Clock(), 1)
    limits = Limits(requests_per_day=1)
    for delay in range(6):
        task = asyncio.create_task(log.reserve(reserved(tokens=5), limits))
        for _ in range(delay):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await log.flush()
        assert log.totals.sums == Sums()
    await log.reserve(reserved(), limits)


class Failing:
    """A store whose appends fail, before or after they are stored."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.failures: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def append(self, name: str, data: bytes, position: int) -> int:
        failure = self.failures.pop(0) if self.failures else None
        if failure == "before":
            raise StorageUnavailable("down")
        size = await self._store.append(name, data, position)
        if failure == "after":
            raise StorageUnavailable("the answer was lost")
        return size


async def test_append_whose_answer_was_lost_is_known_again(store: ObjectStore) -> None:
    failing = Failing(store)
    log = DayLog(failing, "alice", DAY, Clock())  # type: ignore[arg-type]
    failing.failures = ["after", "before", "after"]
    await asyncio.gather(*(log.reserve(reserved(), Limits(requests_per_day=5)) for _ in range(5)))
    assert log.totals.sums.requests == 5
    assert sum([len(batch.entries) async for batch in read_all(store, "alice", DAY)]) == 5


async def test_reservation_that_was_refused_and_stored_all_the_same_is_voided(
    store: ObjectStore,
) -> None:
    failing = Failing(store)
    log = DayLog(failing, "alice", DAY, Clock())  # type: ignore[arg-type]
    limits = Limits(requests_per_day=1)
    failing.failures = ["before", "before", "after"]
    with pytest.raises(StorageUnavailable):
        await log.reserve(reserved(), limits)
    await log.refresh()
    await log.flush()
    assert log.totals.sums == Sums()
    await log.reserve(reserved(), limits)


async def test_what_is_only_booked_waits_until_storage_is_back(store: ObjectStore) -> None:
    failing = Failing(store)
    log = DayLog(failing, "alice", DAY, Clock())  # type: ignore[arg-type]
    failing.failures = ["before"] * 3
    log.write(reserved(tokens=3))
    with pytest.raises(StorageUnavailable):
        await log.reserve(reserved(), Limits(requests_per_day=9))
    await log.flush()
    assert log.totals.sums == Sums(requests=1, tokens=3)


def test_settlement_after_the_loop_s_last_thread_leaves_the_reservation_and_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FolderStore(FolderRoot(tmp_path / "storage"), "state", None)
    entry = reserved(tokens=700)

    async def interrupted() -> None:
        log = DayLog(store, "alice", DAY, Clock())
        await log.reserve(entry, Limits(tokens_per_day=1000))
        # As `asyncio.run` does when it ends, before it closes the loop.
        await asyncio.get_running_loop().shutdown_default_executor()
        log.write(settled(entry, tokens=1))
        await until(lambda: log.is_idle)

    asyncio.run(interrupted())
    assert [record.getMessage() for record in caplog.records] == []

    async def restarted() -> None:
        log = DayLog(store, "alice", DAY, Clock())
        with pytest.raises(BudgetSpent, match="has 300 left"):
            await log.reserve(reserved(tokens=400), Limits(tokens_per_day=1000))

    asyncio.run(restarted())


def test_reservation_after_the_loop_s_last_thread_is_told_of_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FolderStore(FolderRoot(tmp_path / "storage"), "state", None)

    async def interrupted() -> None:
        await asyncio.get_running_loop().shutdown_default_executor()
        log = DayLog(store, "alice", DAY, Clock())
        log.write(reserved(tokens=700))
        await until(lambda: log.is_idle)

    asyncio.run(interrupted())
    [record] = caplog.records
    assert record.getMessage() == (
        "Usage was not booked: the process ends, and storage cannot be written."
    )
    assert record.exc_info is None


async def test_what_comes_right_after_an_error_is_booked_and_meets_no_error_of_others(
    store: ObjectStore,
) -> None:
    log: DayLog
    early, late = reserved(tokens=5), reserved(tokens=3)
    asked: list[asyncio.Task[object]] = []

    def come() -> None:
        log.write(settled(late, tokens=3))
        asked.append(asyncio.create_task(log.reserve(late, Limits(requests_per_day=9))))

    class Broken(Failing):
        async def append(self, name: str, data: bytes, position: int) -> int:
            if not asked:
                asyncio.get_running_loop().call_soon(come)
                raise ValueError("an error that nobody foresaw")
            return await super().append(name, data, position)

    log = DayLog(Broken(store), "alice", DAY, Clock())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nobody foresaw"):
        await log.reserve(early, Limits(requests_per_day=9))
    await until(lambda: asked)
    await asked[0]
    await log.flush()
    entries = [entry async for batch in read_all(store, "alice", DAY) for entry in batch.entries]
    assert {type(entry).__name__ for entry in entries} == {"Reserved", "Settled"}
    assert early not in entries
    assert late in entries


@pytest.mark.parametrize("usd", [None, 0.0, 1.5])
def test_lines_are_read_as_they_were_written_with_a_price_and_without(usd: float | None) -> None:
    entry = reserved(usd=usd)
    end = settled(entry, tokens=3).model_copy(update={"usd": usd})
    batch = Batch(n=1, sums=Sums(), entries=(entry, end, released(entry)))
    assert list(decode(encode(batch))) == [batch]


def test_line_that_a_later_version_wrote_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert list(decode(b'{"v":2,"n":1,"entries":[]}\n{"v":1,"n":1,"su')) == []
    assert [record.message for record in caplog.records] == [
        "A line of the ledger cannot be read: v: literal_error"
    ]
