"""What every object store has to keep, run against a folder and against Azurite in both its modes."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from azure.core.exceptions import ServiceRequestError
from azure.storage.blob.aio import BlobClient
from pytest_mock import MockerFixture

from shared.errors import StorageUnavailable
from shared.storage import (
    ContentHeaders,
    ObjectChanged,
    ObjectConflict,
    ObjectExists,
    ObjectMissing,
    ObjectPage,
    ObjectStore,
    RangeNotSatisfiable,
)
from shared.storage.blob import BLOCK_BYTES, BlobAccount, BlobStore
from shared.timing import Timing
from tests.paging import read_pages
from tests.waiting import until

MIB = 1024 * 1024


async def pieces(data: bytes, size: int = 70_001) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def content(store: ObjectStore, name: str) -> bytes:
    return (await store.read(name))[0]


async def names(store: ObjectStore, prefix: str = "") -> list[str]:
    return [each.name for each in (await store.list(prefix)).objects]


async def test_nothing_is_there_at_first(store: ObjectStore) -> None:
    for call in (store.read("a"), store.describe("a")):
        with pytest.raises(ObjectMissing):
            await call
    with pytest.raises(ObjectMissing):
        async with store.open("a"):
            pass
    with pytest.raises(ObjectChanged):
        await store.replace("a", b"2", "etag")
    with pytest.raises(ObjectChanged):
        await store.append("a", b"2", 1)
    assert await store.list("a") == ObjectPage((), None)
    assert await store.delete("a") is False


async def test_created_object_is_read_and_described_as_it_is(store: ObjectStore) -> None:
    made = await store.create("folder/a.json", b"{}")
    data, info = await store.read("folder/a.json")
    assert data == b"{}"
    assert info == made == await store.describe("folder/a.json")
    assert (info.name, info.size) == ("folder/a.json", 2)
    assert abs(info.modified_at - datetime.now(UTC)) < timedelta(minutes=5)


async def test_created_object_is_never_overwritten(store: ObjectStore) -> None:
    await store.create("a", b"first")
    with pytest.raises(ObjectExists):
        await store.create("a", b"second")
    with pytest.raises(ObjectExists):
        await store.upload("a", pieces(b"third"))
    assert await content(store, "a") == b"first"


async def test_of_many_who_create_at_once_one_wins(store: ObjectStore) -> None:
    results = await asyncio.gather(
        *(store.create("a", str(number).encode()) for number in range(50)), return_exceptions=True
    )
    winners = [number for number, each in enumerate(results) if not isinstance(each, Exception)]
    assert [type(each) for each in results if isinstance(each, Exception)] == [ObjectExists] * 49
    assert await content(store, "a") == str(winners[0]).encode()


async def test_replacing_needs_the_newest_etag(store: ObjectStore) -> None:
    first = await store.create("a", b"1")
    second = await store.replace("a", b"2", first.etag)
    assert second.etag != first.etag
    with pytest.raises(ObjectChanged):
        await store.replace("a", b"3", first.etag)
    assert (await store.read("a")) == (b"2", second)
    [listed] = (await store.list("a")).objects
    assert (await store.replace("a", b"22", listed.etag)).size == 2


async def test_of_many_who_replace_at_once_one_wins(store: ObjectStore) -> None:
    made = await store.create("a", b"")
    results = await asyncio.gather(
        *(store.replace("a", str(number).encode(), made.etag) for number in range(20)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, ObjectChanged) for each in results) == 19


async def test_log_grows_where_its_writer_knows_the_end(store: ObjectStore) -> None:
    assert await store.append("log", b"one\n", 0) == 4
    assert await store.append("log", b"two\n", 4) == 8
    for position in (0, 4, 9):
        with pytest.raises(ObjectChanged):
            await store.append("log", b"lost\n", position)
    data, info = await store.read("log")
    assert (data, info.size) == (b"one\ntwo\n", 8)


async def test_no_line_of_concurrent_appenders_is_lost_or_mixed(store: ObjectStore) -> None:
    async def append(number: int) -> None:
        line = f"{number:02}\n".encode()

        async def is_appended() -> bool:
            try:
                end = (await store.describe("log")).size
            except ObjectMissing:
                end = 0
            try:
                await store.append("log", line, end)
            except ObjectConflict:
                return False
            return True

        # One of them gets its turn at a time, and the last one looks twenty times.
        await until(is_appended, seconds=150)

    await asyncio.gather(*(append(number) for number in range(20)))
    lines = (await content(store, "log")).decode().split()
    assert sorted(lines) == [f"{number:02}" for number in range(20)]


@pytest.mark.parametrize("size", [0, 1, 70_001, BLOCK_BYTES, BLOCK_BYTES + 1, 9 * MIB + 5])
async def test_upload_of_any_length_arrives_whole(store: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    info = await store.upload("folder/a", pieces(data))
    assert info.size == size
    assert await content(store, "folder/a") == data


async def test_large_object_is_created_whole(store: ObjectStore) -> None:
    data = os.urandom(5 * MIB)
    await store.create("a", data)
    assert await content(store, "a") == data
    with pytest.raises(ObjectExists):
        await store.create("a", data)


@pytest.mark.parametrize("size", [10, 5 * MIB])
async def test_upload_whose_source_breaks_leaves_nothing(store: ObjectStore, size: int) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        async for piece in pieces(bytes(size)):
            yield piece
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.upload("folder/a", breaking())
    assert await names(store) == []
    with pytest.raises(ObjectMissing):
        await store.read("folder/a")


async def test_upload_that_is_cancelled_leaves_nothing(store: ObjectStore) -> None:
    reached = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        async for piece in pieces(bytes(5 * MIB)):
            yield piece
        reached.set()
        await asyncio.Event().wait()

    uploading = asyncio.create_task(store.upload("a", endless()))
    await reached.wait()
    assert await names(store) == []
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert await names(store) == []


async def test_two_uploads_of_one_name_do_not_mix(store: ObjectStore) -> None:
    one, other = os.urandom(5 * MIB), os.urandom(5 * MIB)
    results = await asyncio.gather(
        store.upload("a", pieces(one)), store.upload("a", pieces(other)), return_exceptions=True
    )
    assert sum(isinstance(each, ObjectExists) for each in results) == 1
    assert await content(store, "a") in (one, other)


@pytest.mark.parametrize("fails", ["a block", "the source"])
async def test_failed_upload_leaves_no_request_half_sent(
    azurite: str, mocker: MockerFixture, fails: str
) -> None:
    stage_block = BlobClient.stage_block
    ends: list[str] = []
    others_began = asyncio.Event()

    async def stage(self: BlobClient, block_id: str, *arguments: Any, **options: Any) -> Any:
        number = len(ends)
        ends.append("is being sent")
        if number == 0 and fails == "a block":
            await others_began.wait()
            raise ServiceRequestError("The connection broke.")
        if number == 1:
            others_began.set()
        try:
            answer = await stage_block(self, block_id, *arguments, **options)
        except asyncio.CancelledError:
            ends[number] = "cancelled"
            raise
        ends[number] = "sent"
        return answer

    async def source() -> AsyncIterator[bytes]:
        for _ in range(2 if fails == "the source" else 3):
            yield bytes(BLOCK_BYTES)
        if fails == "the source":
            await others_began.wait()
            raise StorageUnavailable("It is away.")

    mocker.patch.object(BlobClient, "stage_block", stage)
    account = BlobAccount.from_connection_string(azurite, Timing(storage_attempts=1))
    store = BlobStore(account, f"objects-{uuid4().hex}")
    await store.create("container", b"is there")
    with pytest.raises(StorageUnavailable):
        await store.upload("a", source())
    await account.aclose()
    assert "sent" in ends
    assert not {"cancelled", "is being sent"} & set(ends[1:])


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, None, b"0123456789"),
        (0, 0, b"0"),
        (3, 5, b"345"),
        (9, None, b"9"),
        (8, 100, b"89"),
        (0, 9, b"0123456789"),
    ],
)
async def test_range_is_read(
    store: ObjectStore, start: int, end: int | None, expected: bytes
) -> None:
    await store.create("a", b"0123456789")
    async with store.open("a", start, end) as stream:
        assert stream.info == await store.describe("a")
        assert b"".join([chunk async for chunk in stream.chunks]) == expected


async def test_range_of_a_large_object_is_read(store: ObjectStore) -> None:
    data = os.urandom(5 * MIB)
    await store.upload("a", pieces(data))
    async with store.open("a", 1 * MIB + 1, 4 * MIB) as stream:
        assert stream.info.size == len(data)
        read = b"".join([chunk async for chunk in stream.chunks])
    assert read == data[1 * MIB + 1 : 4 * MIB + 1]


async def test_range_behind_the_end_is_refused(store: ObjectStore) -> None:
    await store.create("a", b"0123456789")
    with pytest.raises(RangeNotSatisfiable) as caught:
        async with store.open("a", 10):
            pass
    assert caught.value.size == 10


@pytest.mark.parametrize("end", [None, 0, 99])
async def test_beginning_of_an_empty_object_is_empty(store: ObjectStore, end: int | None) -> None:
    await store.create("a", b"")
    async with store.open("a", 0, end) as stream:
        assert [chunk async for chunk in stream.chunks] == []
        assert stream.info.size == 0


async def test_listing_has_pages_in_the_order_of_names(store: ObjectStore) -> None:
    expected = sorted(f"one/{number:03}.json" for number in range(25))
    for name in reversed(expected):
        await store.create(name, b"{}")
    for name in ("one.json", "oneself/a", "on", "two/a"):
        await store.create(name, b"{}")

    async def fetch(cursor: str | None) -> dict[str, Any]:
        page = await store.list("one/", 10, cursor)
        return {"names": [each.name for each in page.objects], "cursor": page.cursor}

    pages = [page["names"] for page in await read_pages(fetch)]
    assert max(len(page) for page in pages) <= 10
    assert [name for page in pages for name in page] == expected
    assert await names(store, "one/00") == expected[:10]
    assert await names(store, "one") == ["one.json", *expected, "oneself/a"]
    assert await names(store, "none") == []


async def test_deleted_object_is_gone_and_its_name_is_free(store: ObjectStore) -> None:
    made = await store.create("a", b"1")
    assert await store.delete("a") is True
    assert await store.delete("a") is False
    assert await names(store) == []
    with pytest.raises(ObjectMissing):
        await store.read("a")
    with pytest.raises(ObjectChanged):
        await store.replace("a", b"2", made.etag)
    await store.create("a", b"2")
    assert await content(store, "a") == b"2"


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a b", "a\\b", "ä"]
)
async def test_name_that_is_none_is_refused(store: ObjectStore, name: str) -> None:
    calls = [
        store.create(name, b""),
        store.upload(name, pieces(b"1")),
        store.read(name),
        store.replace(name, b"", "etag"),
        store.append(name, b"", 0),
        store.delete(name),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="no name"):
            await call


async def test_headers_are_taken(store: ObjectStore) -> None:
    headers = ContentHeaders("image/png", "private", 'inline; filename="a.png"')
    await store.create("a.png", b"png", headers)
    await store.upload("b.png", pieces(bytes(5 * MIB)), headers)
    assert await names(store) == ["a.png", "b.png"]


async def test_link_names_the_object_and_not_the_secret(store: ObjectStore) -> None:
    await store.create("folder/a.png", b"png")
    link = await store.link("folder/a.png", datetime.now(UTC) + timedelta(minutes=5))
    assert link.startswith("http")
    assert "a.png" in link


async def test_large_object_that_is_replaced_meanwhile_is_read_whole(store: ObjectStore) -> None:
    size = 3 * MIB
    etag = (await store.create("a", bytes(size))).etag

    async def replace(etag: str) -> None:
        for number in range(1, 6):
            etag = (await store.replace("a", bytes([number]) * size, etag)).etag

    async def read() -> None:
        for _ in range(3):
            data, info = await store.read("a")
            assert (len(data), len(set(data)), info.size) == (size, 1, size)

    await asyncio.gather(replace(etag), *(read() for _ in range(3)))


async def test_large_object_that_changes_while_it_is_read_is_not_mixed(store: ObjectStore) -> None:
    size = 3 * MIB
    etag = (await store.create("a", bytes(size))).etag
    seen = bytearray()
    with suppress(ObjectChanged):
        async with store.open("a") as stream:
            async for chunk in stream.chunks:
                if not seen:
                    await store.replace("a", b"x" * size, etag)
                seen += chunk
    assert set(seen) == {0}
