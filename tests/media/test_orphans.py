"""Media whose process died before it could write their record: found and given back to their owner."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from shared.settings import load_settings
from shared.storage import MediaStore, ObjectStore, OrphanCounts, Orphans, Storage
from shared.storage.ids import owner_key
from shared.storage.media import Origin
from shared.storage.media.objects import KEY_OBJECT, MediaSeals, Sealed
from shared.timing import Timing
from tests.conftest import MakeClient, StandIn, digest
from tests.media.conftest import Api
from tests.media.support import first_run_of, without_links
from tests.waiting import until

AT_ONCE = timedelta(0)


@pytest.fixture
def timing() -> Timing:
    return Timing(longest_video_poll=0)


@pytest.fixture
async def storage(stored_environment: dict[str, str]) -> AsyncIterator[Storage]:
    storage = Storage(load_settings(stored_environment))
    yield storage
    await storage.aclose()


@pytest.fixture
def make_orphans(storage: Storage, stored_environment: dict[str, str]) -> Any:
    """Makes what looks for orphans, as each instance has it."""
    media = MediaStore(storage, load_settings(stored_environment))
    first_run = first_run_of(stored_environment)
    return lambda settled_after=AT_ONCE: Orphans(storage, media, settled_after, first_run)


async def settle(orphans: Orphans) -> OrphanCounts:
    """Runs until the newest object has been looked at."""
    counts = await orphans.settle()
    for _ in range(10):
        more = await orphans.settle()
        counts = max(counts, more, key=dataclasses.astuple)
    return counts


async def records(storage: Storage) -> dict[str, bytes]:
    state = storage.state
    page = await state.list("media/")
    return {each.name: (await state.read(each.name))[0] for each in page.objects}


async def lose_records(storage: Storage) -> dict[str, bytes]:
    """Deletes all records, as if their process had died before it wrote them."""
    state = storage.state
    lost = await records(storage)
    for name in lost:
        await state.delete(name)
    return lost


async def finish(api: Api, job_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any]:
        job: dict[str, Any] = (await api.http.get(f"/videos/{job_id}")).json()
        return job

    return await until(look, lambda job: job["status"] == "completed")


async def test_media_without_a_record_get_it_back(
    api: Api, storage: Storage, make_orphans: Any
) -> None:
    await api.call("generate_image", prompt="A hill", size="32x32", n=2)
    await api.call("synthesize_speech", text="Hello", response_format="wav")
    job = await api.call("generate_video", prompt="A hill", seconds=1)
    await finish(api, job["id"])
    before = (await api.http.get("/media")).json()["media"]
    assert len(before) == 4
    lost = await lose_records(storage)
    assert await api.ids() == []
    assert await settle(make_orphans()) == OrphanCounts(adopted=4)
    assert await records(storage) == lost
    assert without_links((await api.http.get("/media")).json()["media"]) == without_links(before)
    assert await settle(make_orphans()) == OrphanCounts()


async def test_media_go_back_to_nobody_but_their_owner(
    make_client: MakeClient,
    stored_environment: dict[str, str],
    browser: httpx2.AsyncClient,
    stand_in: StandIn,
    storage: Storage,
    make_orphans: Any,
) -> None:
    keys = '{"a": {"sha256": "%s"}, "b": {"sha256": "%s"}}'
    settings = stored_environment | {"API_KEYS": keys % (digest("a-key"), digest("b-key"))}
    apis = [Api(make_client(settings, {"X-Api-Key": key}), browser) for key in ("a-key", "b-key")]
    ids = []
    for each in apis:
        [media] = (await each.call("generate_image", prompt="A hill"))["media"]
        ids.append([media["id"]])
    await lose_records(storage)
    await settle(make_orphans())
    assert [await each.ids() for each in apis] == ids


async def test_young_objects_are_left_alone(api: Api, storage: Storage, make_orphans: Any) -> None:
    await api.call("generate_image", prompt="A hill")
    await lose_records(storage)
    assert await settle(make_orphans(timedelta(hours=1))) == OrphanCounts()
    assert await api.ids() == []


async def test_deletion_that_was_interrupted_is_finished(
    api: Api, storage: Storage, make_orphans: Any
) -> None:
    await api.call("generate_image", prompt="A hill")
    state = storage.state
    [name] = await records(storage)
    data, info = await state.read(name)
    hidden = data.replace(b'"is_deleted":false', b'"is_deleted":true')
    await state.replace(name, hidden, info.etag)
    assert await settle(make_orphans()) == OrphanCounts(removed=1)
    assert await records(storage) == {}
    assert await objects(storage.media) == []


async def test_objects_that_do_not_say_whose_they_are_stay(
    api: Api, storage: Storage, make_orphans: Any
) -> None:
    await api.call("generate_image", prompt="A hill")
    await lose_records(storage)
    media = storage.media
    [name] = await objects(media)
    data, _ = await media.read(name)
    await media.delete(name)
    await media.create(name, data)
    assert await settle(make_orphans()) == OrphanCounts(unknown=1)
    assert await objects(media) == [name]


async def test_media_sealed_with_a_lost_key_are_given_to_nobody(
    api: Api, storage: Storage, make_orphans: Any, stored_environment: dict[str, str]
) -> None:
    await api.call("generate_image", prompt="A hill")
    await lose_records(storage)
    await storage.state.delete(KEY_OBJECT)
    # An instance that starts later makes the key again.
    await MediaStore(storage, load_settings(stored_environment)).check_reachable()
    names = await objects(storage.media)
    assert await settle(make_orphans()) == OrphanCounts(unknown=1)
    assert await records(storage) == {}
    assert await objects(storage.media) == names


@pytest.mark.parametrize("text", ["", "no hex", "00", "00" * 12, "00" * 16, "00" * 44])
async def test_texts_that_are_no_seal_name_no_owner(storage: Storage, text: str) -> None:
    assert await MediaSeals(storage).open(text, "m1") is None


async def test_seal_opens_for_its_own_medium_only(storage: Storage) -> None:
    owner = owner_key("alice")
    seals = MediaSeals(storage)
    origin = Origin.of_tool("generate_image", "model", "A hill")
    sealed = await seals.seal(owner, "m1", origin)
    assert await seals.open(sealed, "m1") == Sealed(owner=owner, origin=origin)
    assert await seals.open(sealed, "m2") is None


async def test_two_instances_adopt_each_object_once(
    api: Api, storage: Storage, make_orphans: Any
) -> None:
    await api.call("generate_image", prompt="A hill", n=5)
    lost = await lose_records(storage)
    await asyncio.gather(*(settle(make_orphans()) for _ in range(2)))
    assert await records(storage) == lost


async def test_each_run_looks_at_no_more_than_its_limit(
    api: Api, storage: Storage, make_orphans: Any
) -> None:
    await api.call("generate_image", prompt="A hill", n=3)
    lost = await lose_records(storage)
    orphans = make_orphans()
    for _ in range(60):
        assert (await orphans.settle(limit=1)).adopted <= 1
    assert await records(storage) == lost


async def test_link_to_a_medium_does_not_say_whose_it_is(api: Api, storage: Storage) -> None:
    await api.call("generate_image", prompt="A hill")
    media = storage.media
    [name] = await objects(media)
    [record] = await records(storage)
    owner = record.split("/")[1]
    metadata = (await media.describe(name)).metadata
    assert set(metadata) >= {"owner"}
    assert owner not in metadata.values()


async def objects(store: ObjectStore) -> list[str]:
    return [each.name for each in (await store.list("images/")).objects]
