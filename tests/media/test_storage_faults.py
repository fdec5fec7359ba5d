"""What callers of tools see of writes to Blob Storage that fail or whose answers are lost."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.conftest import MakeClient, StandIn
from tests.media.conftest import Api
from tests.storage.azurite import blob_settings
from tests.storage.proxy import BUSY, LOST, Refusal, StorageProxy, proxy_before


@pytest.fixture
def behind(azurite: str) -> Iterator[tuple[StorageProxy, str]]:
    """A proxy and the connection string that leads through it."""
    with proxy_before(azurite) as pair:
        yield pair


@pytest.fixture
def proxy(behind: tuple[StorageProxy, str]) -> StorageProxy:
    return behind[0]


@pytest.fixture
def api(
    make_client: MakeClient,
    environment: dict[str, str],
    behind: tuple[StorageProxy, str],
    browser: httpx2.AsyncClient,
    stand_in: StandIn,
) -> Api:
    # Shorter than a lease: who waits for itself gets 409.
    settings = environment | blob_settings(behind[1]) | {"REQUEST_DEADLINE_SECONDS": "12"}
    return Api(make_client(settings), browser)


CALLS: dict[str, dict[str, Any]] = {
    "/tools/generate_image": {"prompt": "A hill"},
    "/tools/add_task": {"title": "Water the plants"},
    "/chat": {"message": "Hello"},
}


@pytest.mark.parametrize("path", CALLS)
async def test_keyed_call_whose_claim_is_answered_by_nobody_knows_its_own_claim(
    api: Api, proxy: StorageProxy, path: str
) -> None:
    await api.call("add_task", title="Makes the container")
    proxy.fail("PUT", "/idempotency/", LOST)
    response = await api.http.post(path, json=CALLS[path], headers={"Idempotency-Key": "k"})
    assert response.status_code == 200, response.text
    assert proxy.faults == 1


async def test_deleted_task_whose_answer_is_lost_is_deleted(api: Api, proxy: StorageProxy) -> None:
    task = await api.call("add_task", title="Water the plants")
    proxy.fail("PUT", "/tasks/", LOST)
    gone = await api.call("delete_task", task_id=task["task_id"])
    assert gone["status"] == "deleted"
    assert (await api.call("list_tasks"))["count"] == 0


@pytest.mark.parametrize(
    ("method", "part"),
    [("PUT", "/media/"), ("DELETE", "/images/"), ("DELETE", "/media/")],
    ids=["hiding", "bytes", "record"],
)
async def test_deleted_medium_whose_answer_is_lost_leaves_nothing(
    api: Api, proxy: StorageProxy, method: str, part: str
) -> None:
    [media] = (await api.call("generate_image", prompt="A hill"))["media"]
    proxy.fail(method, part, LOST)
    response = await api.http.delete(f"/media/{media['id']}")
    assert response.status_code == 204, response.text
    assert proxy.faults == 1
    assert (await api.open(media["url"])).status_code == 404
    assert await api.ids() == []


async def test_picture_without_a_key_is_not_lost_to_reads_that_fail(
    api: Api, proxy: StorageProxy
) -> None:
    proxy.decide = lambda request: (
        BUSY if request.method in ("GET", "HEAD") and "/images/" in request.target else None
    )
    [media] = (await api.call("generate_image", prompt="A hill", size="32x32"))["media"]
    assert (media["width"], media["height"]) == (32, 32)
    assert await api.ids() == [media["id"]]


@pytest.mark.parametrize("part", ["/images/", "/media/"], ids=["bytes", "record"])
async def test_paid_picture_outlives_storage_that_fails_for_seconds(
    api: Api, proxy: StorageProxy, stand_in: StandIn, part: str
) -> None:
    proxy.fail("PUT", part, *[BUSY] * 5)
    [media] = (await api.call("generate_image", prompt="A hill"))["media"]
    assert proxy.faults == 5
    assert await api.ids() == [media["id"]]
    assert len(stand_in.requests()) == 1


EXISTS = Refusal(409, "BlobAlreadyExists")
UNMET = Refusal(412, "ConditionNotMet")


@pytest.mark.parametrize("refusal", [EXISTS, UNMET], ids=["409", "412"])
@pytest.mark.parametrize("part", ["/images/", "/media/"], ids=["bytes", "record"])
async def test_storage_that_contradicts_itself_for_a_while_loses_no_picture(
    api: Api, proxy: StorageProxy, refusal: Refusal, part: str
) -> None:
    proxy.fail("PUT", part, *[refusal] * 4)
    [media] = (await api.call("generate_image", prompt="A hill"))["media"]
    assert await api.ids() == [media["id"]]


@pytest.mark.parametrize("refusal", [EXISTS, UNMET], ids=["409", "412"])
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["unkeyed", "keyed"])
async def test_storage_that_contradicts_itself_is_named(
    api: Api, proxy: StorageProxy, refusal: Refusal, headers: dict[str, str]
) -> None:
    await api.call("generate_image", prompt="A hill")
    proxy.decide = lambda request: refusal if request.method == "PUT" else None
    response = await api.http.post(
        "/tools/generate_image", json={"prompt": "A hill"}, headers=headers
    )
    assert (response.status_code, response.json()["code"]) == (503, "storage_unavailable")


async def test_waiting_repeat_reads_and_does_not_write(
    api: Api, proxy: StorageProxy, stand_in: StandIn
) -> None:
    await api.call("generate_image", {"Idempotency-Key": "another"}, prompt="A hill")
    proxy.seen.clear()
    stand_in.fault(delay=2.5)
    headers = {"Idempotency-Key": "k"}
    first, second = await asyncio.gather(
        *(api.call("generate_image", headers, prompt="A hill") for _ in range(2))
    )
    assert first["media"][0]["id"] == second["media"][0]["id"]
    seen = [each for each in proxy.seen if "/idempotency/" in each.target]
    # Each tries to create the record once, and the first writes the result.
    assert sum(each.method == "PUT" for each in seen) == 3
    assert sum(each.method == "GET" for each in seen) > 3
