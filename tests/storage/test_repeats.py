"""Writes to Blob Storage that fail or whose answers are lost: each is done, once, and known as ours."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from shared.deadline import time_limit
from shared.errors import StorageUnavailable
from shared.storage import ObjectChanged, ObjectExists, ObjectMissing
from shared.storage.blob import BLOCK_BYTES, BlobAccount, BlobStore
from shared.storage.retries import ATTEMPTS, Backoff, keep_retrying, pause_seconds
from tests.storage.proxy import BUSY, LOST, Fault, StorageProxy, proxy_before

LARGE = b"x" * (2 * BLOCK_BYTES + 1)


@pytest.fixture
def behind(azurite: str) -> Iterator[tuple[StorageProxy, str]]:
    """A proxy and the connection string that leads through it."""
    with proxy_before(azurite) as pair:
        yield pair


@pytest.fixture
def proxy(behind: tuple[StorageProxy, str]) -> StorageProxy:
    return behind[0]


@pytest.fixture
async def store(behind: tuple[StorageProxy, str]) -> AsyncIterator[BlobStore]:
    account = BlobAccount.from_connection_string(behind[1])
    store = BlobStore(account, f"objects-{uuid4().hex}")
    await store.create("makes-the-container", b"")
    yield store
    await account.aclose()


FAULTS = pytest.mark.parametrize("fault", [BUSY, LOST], ids=["refused", "answer-lost"])


@FAULTS
@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
async def test_create_that_fails_once_is_done(
    store: BlobStore, proxy: StorageProxy, fault: Fault, data: bytes
) -> None:
    proxy.fail("PUT", "/a" if data is not LARGE else "comp=blocklist", fault)
    made = await store.create("a", data)
    assert proxy.faults == 1
    assert made == await store.describe("a")
    assert (await store.read("a"))[0] == data


@FAULTS
async def test_block_that_fails_several_times_is_sent_again(
    store: BlobStore, proxy: StorageProxy, fault: Fault
) -> None:
    proxy.fail("PUT", "comp=block&", *[fault] * 4)
    await store.create("a", LARGE)
    assert proxy.faults == 4
    assert (await store.read("a"))[0] == LARGE


@FAULTS
async def test_replace_that_fails_once_is_done(
    store: BlobStore, proxy: StorageProxy, fault: Fault
) -> None:
    made = await store.create("a", b"1")
    proxy.fail("PUT", "/a", fault)
    changed = await store.replace("a", b"2", made.etag)
    assert proxy.faults == 1
    assert changed == await store.describe("a")
    assert (await store.read("a"))[0] == b"2"


@FAULTS
async def test_delete_that_fails_once_says_that_there_was_something(
    store: BlobStore, proxy: StorageProxy, fault: Fault
) -> None:
    await store.create("a", b"1")
    proxy.fail("DELETE", "/a", fault)
    assert await store.delete("a") is True
    assert await store.delete("a") is False


@FAULTS
async def test_other_writers_object_is_not_taken_for_ours(
    store: BlobStore, proxy: StorageProxy, fault: Fault
) -> None:
    made = await store.create("a", b"of another writer")
    proxy.fail("PUT", "/a", BUSY)
    with pytest.raises(ObjectExists):
        await store.create("a", b"ours")
    await store.replace("a", b"changed", made.etag)
    proxy.fail("PUT", "/a", BUSY)
    with pytest.raises(ObjectChanged):
        await store.replace("a", b"ours", made.etag)


async def test_transport_sends_each_write_once(store: BlobStore, proxy: StorageProxy) -> None:
    await store.append("log", b"1", 0)
    proxy.seen.clear()
    proxy.fail("PUT", "comp=appendblock", LOST)
    with pytest.raises(StorageUnavailable):
        await store.append("log", b"2", 1)
    assert sum("comp=appendblock" in each.target for each in proxy.seen) == 1


async def test_reads_are_repeated_until_storage_answers(
    store: BlobStore, proxy: StorageProxy
) -> None:
    await store.create("a", b"1")
    proxy.fail("GET", "/a", *[BUSY] * 4)
    assert (await store.read("a"))[0] == b"1"
    proxy.fail("HEAD", "/a", *[BUSY] * 4)
    assert (await store.describe("a")).size == 1
    with pytest.raises(ObjectMissing):
        await store.describe("none")


async def test_write_with_a_deadline_goes_on_until_it_is_near(
    store: BlobStore, proxy: StorageProxy
) -> None:
    proxy.fail("PUT", "/a", *[BUSY] * 6)
    async with time_limit(60):
        with keep_retrying():
            await store.create("a", b"1")
    assert proxy.faults == 6
    proxy.decide = lambda request: BUSY if request.is_write else None
    async with time_limit(3):
        with keep_retrying(), pytest.raises(StorageUnavailable):
            await store.create("b", b"1")


async def test_read_that_is_kept_retrying_goes_on_after_the_usual_attempts(
    store: BlobStore, proxy: StorageProxy
) -> None:
    await store.create("a", b"1")
    proxy.fail("GET", "/a", *[BUSY] * 6)
    with keep_retrying(60):
        assert (await store.read("a"))[0] == b"1"
    assert proxy.faults == 6


async def test_operation_fails_in_time_to_say_so_where_its_scope_is_nearly_over() -> None:
    async with time_limit(1):
        with pytest.raises(StorageUnavailable):
            await Backoff().wait(StorageUnavailable("Busy."))


async def test_without_a_scope_what_is_kept_retrying_is_given_up_after_a_few_attempts(
    store: BlobStore, proxy: StorageProxy
) -> None:
    proxy.decide = lambda request: BUSY if request.is_write else None
    with keep_retrying(), pytest.raises(StorageUnavailable):
        await store.create("b", b"1")
    assert proxy.faults == ATTEMPTS


def test_pauses_are_as_long_as_storage_asks() -> None:
    assert pause_seconds(1, 7) == 7
    assert 0 < pause_seconds(1) < pause_seconds(5) <= 5


@pytest.mark.parametrize(("seconds", "asked"), [(None, 60.0), (10, 20.0)], ids=["none", "near"])
async def test_storage_that_asks_to_wait_too_long_is_not_waited_for(
    seconds: float | None, asked: float
) -> None:
    busy = StorageUnavailable("Busy.", asked)
    async with asyncio.timeout(5):
        with keep_retrying(seconds), pytest.raises(StorageUnavailable) as raised:
            await Backoff().wait(busy)
    assert raised.value.headers == {"Retry-After": f"{asked:.0f}"}
