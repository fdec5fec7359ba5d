"""How often storage is asked for keys, and what holds while it does not answer."""

import asyncio

import pytest

from shared.auth import Keyring
from shared.errors import StorageUnavailable
from shared.keys import KeySnapshot
from tests.waiting import until

INTERVAL = 10.0


class Storage:
    """Counts reads; fails or waits where told to."""

    def __init__(self) -> None:
        self.reads = 0
        self.now = 1000.0
        self.is_down = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.keyring = Keyring()

    async def read(self) -> Keyring:
        self.reads += 1
        await self.gate.wait()
        if self.is_down:
            raise StorageUnavailable("down")
        return self.keyring


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
def snapshot(storage: Storage) -> KeySnapshot:
    return KeySnapshot(storage.read, INTERVAL, clock=lambda: storage.now)


async def test_any_number_of_callers_make_one_read_in_an_interval(
    storage: Storage, snapshot: KeySnapshot
) -> None:
    await asyncio.gather(*(snapshot.keyring() for _ in range(100)))
    for _ in range(100):
        storage.now += INTERVAL / 200
        await snapshot.keyring()
    assert storage.reads == 1


async def test_callers_are_answered_from_the_last_read_while_the_next_one_runs(
    storage: Storage, snapshot: KeySnapshot
) -> None:
    first = await snapshot.keyring()
    storage.keyring = Keyring()
    storage.gate.clear()
    storage.now += INTERVAL
    assert [await snapshot.keyring() for _ in range(10)] == [first] * 10
    storage.gate.set()
    await snapshot.aclose()
    assert await snapshot.keyring() is storage.keyring
    assert storage.reads == 2


async def test_who_comes_after_a_long_pause_waits_for_the_next_read(
    storage: Storage, snapshot: KeySnapshot
) -> None:
    await snapshot.keyring()
    storage.keyring = Keyring()
    storage.now += 2 * INTERVAL
    assert await snapshot.keyring() is storage.keyring


async def test_last_read_serves_ten_minutes_while_storage_is_down_and_nobody_waits_for_it(
    storage: Storage, snapshot: KeySnapshot
) -> None:
    first = await snapshot.keyring()
    storage.is_down = True
    for _ in range(59):
        storage.now += INTERVAL
        assert await snapshot.keyring() is first
        await snapshot.aclose()
    reads = storage.reads
    storage.now += INTERVAL + 1
    assert snapshot.known is None
    for _ in range(20):
        with pytest.raises(StorageUnavailable) as refused:
            await snapshot.keyring()
    assert refused.value.retry_after == INTERVAL
    assert storage.reads == reads + 1
    storage.is_down = False
    storage.now += INTERVAL
    assert await snapshot.keyring() is storage.keyring


async def test_failure_of_long_ago_lets_nobody_in_from_memory_who_comes_after_it(
    storage: Storage, snapshot: KeySnapshot
) -> None:
    await snapshot.keyring()
    storage.is_down = True
    storage.now += 2 * INTERVAL
    await snapshot.keyring()
    await snapshot.aclose()
    storage.is_down, storage.keyring = False, Keyring()
    storage.now += 200
    assert await snapshot.keyring() is storage.keyring


async def test_read_that_began_before_a_change_of_this_instance_does_not_undo_it(
    storage: Storage, snapshot: KeySnapshot
) -> None:
    await snapshot.keyring()
    storage.gate.clear()
    storage.now += INTERVAL
    await snapshot.keyring()
    await until(lambda: storage.reads == 2)
    changed = Keyring()
    snapshot.replace(changed)
    storage.gate.set()
    await snapshot.aclose()
    assert await snapshot.keyring() is changed
