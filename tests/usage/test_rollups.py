"""Days that housekeeping adds up, and reports that read them in place of their logs."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from shared.settings import Limits, load_settings
from shared.storage import ObjectMissing, ObjectStore, Storage, owner_key
from shared.usage import Ledger, Prices, Reports, UsageQuery
from shared.usage.books import PrincipalRecord, principal_record
from shared.usage.lines import Sums
from shared.usage.log import DayLog
from shared.usage.rollups import RollUps
from tests.usage.support import NOON, Clock, reserved, settled

DAY = NOON.date()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def storage(stored_environment: dict[str, str], clock: Clock) -> AsyncIterator[Storage]:
    storage = Storage(load_settings(stored_environment), clock=clock)
    yield storage
    await storage.aclose()


async def use(state: ObjectStore, principal: str, clock: Clock, calls: int, tokens: int) -> DayLog:
    """Books calls of a principal, the last of which is never settled."""
    log = DayLog(state, owner_key(principal), clock().date(), clock)
    for number in range(calls):
        entry = reserved(clock(), tokens=tokens, usd=0.25)
        log.write(entry)
        if number < calls - 1:
            log.write(settled(entry, tokens=tokens, usd=0.5))
    await log.flush()
    name = principal_record(owner_key(principal))
    try:
        await state.describe(name)
    except ObjectMissing:
        record = PrincipalRecord(name=principal).model_dump_json().encode()
        await state.create(name, record)
    return log


async def test_rolled_up_days_say_the_same_as_their_logs(storage: Storage, clock: Clock) -> None:
    await use(storage.state, "alice", clock, 3, 10)
    await use(storage.state, "bob", clock, 2, 10)
    ledger = Ledger(storage, Prices({}), Limits())
    reports = Reports(storage, ledger)
    clock.advance(24 * 3600)
    await use(storage.state, "alice", clock, 1, 10)
    queries = [
        UsageQuery(DAY, DAY + timedelta(days=1), group_by, principal)
        for group_by in ("day", "model", "door", "tool", "principal")
        for principal in (None, "alice")
    ]
    before = [await reports.usage(query) for query in queries]
    assert before[0].total.provider_calls == 6
    assert before[0].total.cost_usd == 3 * 0.25 + 3 * 0.5
    assert await ledger.rollups.roll_up(3) == 1
    assert await ledger.rollups.roll_up(3) == 0
    assert [await reports.usage(query) for query in queries] == before


async def test_day_is_rolled_up_an_hour_after_its_end_and_again_when_it_is_settled_late(
    storage: Storage, clock: Clock
) -> None:
    log = await use(storage.state, "alice", clock, 2, 10)
    rollups = RollUps(storage.state, clock)
    clock.advance(12.5 * 3600)
    assert await rollups.roll_up(3) == 0
    clock.advance(3600)
    assert await rollups.roll_up(3) == 1
    late = reserved(NOON, tokens=5, usd=1.0)
    log.write(late, settled(late, tokens=7, usd=2.0))
    await log.flush()
    assert await rollups.roll_up(3) == 1
    assert await rollups.sums_before(owner_key("alice"), DAY + timedelta(days=1)) == Sums(
        requests=3, tokens=27, usd=2.75
    )


async def test_month_of_a_limit_is_the_roll_ups_and_the_logs_of_its_days(
    storage: Storage, clock: Clock
) -> None:
    rollups = RollUps(storage.state, clock)
    clock.now = NOON.replace(day=1)
    for day in range(1, 5):
        clock.now = NOON.replace(day=day)
        await use(storage.state, "alice", clock, 1, 100)
        if day == 3:
            assert await rollups.roll_up(5) == 2
    owner = owner_key("alice")
    assert (await rollups.sums_before(owner, clock().date())).tokens == 300
    assert (await rollups.sums_before(owner, DAY)).tokens == 400
    assert await rollups.sums_before(owner, DAY.replace(day=1)) == Sums()
    ledger = Ledger(storage, Prices({}), Limits(tokens_per_month=1000))
    log = await ledger.books.log_with_month("alice")
    assert log.before.tokens == 300


async def test_call_of_an_instance_that_died_is_unsettled_when_its_time_is_over(
    storage: Storage, clock: Clock
) -> None:
    await use(storage.state, "alice", clock, 1, 10)
    reports = Reports(storage, Ledger(storage, Prices({}), Limits()))
    for seconds, status in ((0, "in_progress"), (300, "unsettled")):
        clock.advance(seconds)
        (record,) = (await reports.records("alice", 10, None, DAY, DAY)).records
        assert (record.status, record.cost_usd, record.is_estimate) == (status, 0.25, True)


async def test_forgotten_principal_has_a_pseudonym_in_reports(
    storage: Storage, clock: Clock
) -> None:
    await use(storage.state, "alice", clock, 1, 10)
    reports = Reports(storage, Ledger(storage, Prices({}), Limits()))
    for _ in range(2):
        await reports.forget("alice")
    report = await reports.usage(UsageQuery(DAY, DAY, "principal", None))
    (row,) = report.rows
    assert row.key.startswith("deleted-")
    page = await reports.records(None, 10, None, DAY, DAY)
    assert "alice" not in json.dumps([each.model_dump() for each in page.records])
