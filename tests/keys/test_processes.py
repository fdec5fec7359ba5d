"""Stored keys on several processes, and while storage fails."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx2
import pytest

from tests.conftest import MakeClient, digest
from tests.keys.conftest import AS_ADMIN, admin_settings, status
from tests.media.app_process import running
from tests.storage.azurite import blob_settings
from tests.storage.proxy import BUSY, StorageProxy, proxy_before
from tests.waiting import until

pytestmark = pytest.mark.any_python

PAUSE_SECONDS = 0.1
"""Between two requests of one caller, while processes learn of keys, which takes ten seconds."""


@pytest.fixture
def settings(environment: dict[str, str], azurite: str) -> dict[str, str]:
    return environment | blob_settings(azurite) | admin_settings()


@pytest.fixture
def origins(settings: dict[str, str]) -> Iterator[list[str]]:
    """Two processes of one app, with the intervals that it has in Azure."""
    with ExitStack() as stack:
        yield [stack.enter_context(running(settings)).origin for _ in range(2)]


@pytest.mark.timeout(180)
async def test_key_made_on_one_process_works_on_another_within_30_s_and_ends_as_soon(
    origins: list[str],
) -> None:
    async with (
        httpx2.AsyncClient(base_url=origins[0], headers=AS_ADMIN, timeout=60) as one,
        httpx2.AsyncClient(base_url=origins[1], timeout=60) as other,
    ):
        # The other one has looked already, and knows that there is no key.
        assert await status(other, "x" * 30) == 401
        key = (await one.post("/keys", json={"name": "ann"})).json()["key"]
        made = time.monotonic()
        await until(lambda: status(other, key), lambda found: found == 200, 30, PAUSE_SECONDS)
        known = time.monotonic()
        assert (await one.delete("/keys/ann")).status_code == 204
        assert await status(one, key) == 401
        await until(lambda: status(other, key), lambda found: found == 401, 30, PAUSE_SECONDS)
        sys.stdout.write(
            f"known after {known - made:.1f} s, over after {time.monotonic() - known:.1f} s\n"
        )


@pytest.mark.timeout(180)
async def test_no_request_fails_while_keys_rotate_under_load(origins: list[str]) -> None:
    async with ExitStackOfClients(origins) as clients:
        admin = clients[0]
        made = await admin.post("/keys", json={"name": "ann"}, headers=AS_ADMIN)
        keys = [made.json()["key"]]
        await until(lambda: status(clients[1], keys[0]), lambda found: found == 200)
        statuses: list[int] = []
        is_over = asyncio.Event()

        async def call(client: httpx2.AsyncClient) -> None:
            # Each holds a key for a while, as programs do that are told of a new one.
            while not is_over.is_set():
                statuses.append(await status(client, keys[max(0, len(keys) - 2)]))
                # More of them would show nothing else, and take the machine from other tests.
                await asyncio.sleep(PAUSE_SECONDS)

        # A call that raises ends the test with its error.
        async with asyncio.TaskGroup() as calling:
            for client in clients * 3:
                calling.create_task(call(client))
            for _ in range(3):
                rotated = await admin.post(
                    "/keys/ann/rotate", json={"overlap_seconds": 600}, headers=AS_ADMIN
                )
                newest = rotated.json()["key"]
                learned = partial(status, clients[1], newest)
                await until(learned, lambda found: found == 200, pause=PAUSE_SECONDS)
                keys.append(newest)
            await until(lambda: len(statuses) > 100)
            is_over.set()
        assert set(statuses) == {200}


async def test_many_makers_and_deleters_at_once_lose_no_change(origins: list[str]) -> None:
    async with ExitStackOfClients(origins) as clients:

        async def post(number: int) -> int:
            client = clients[number % 2]
            response = await client.post(
                "/keys", json={"name": f"key-{number // 2}"}, headers=AS_ADMIN
            )
            return response.status_code

        made = await asyncio.gather(*(post(number) for number in range(20)))
        assert sorted(made) == [201] * 10 + [409] * 10
        work = [
            clients[number % 2].request(method, f"/keys/key-{number}{path}", headers=AS_ADMIN)
            for number in range(5)
            for method, path in (("POST", "/rotate"), ("DELETE", ""))
        ]
        answers = await asyncio.gather(*work)
        assert {answer.status_code for answer in answers} <= {200, 204, 404}
        listed = (await clients[0].get("/keys", headers=AS_ADMIN)).json()["keys"]
        assert [each["name"] for each in listed] == [f"key-{number}" for number in range(5, 10)]


class ExitStackOfClients:
    """One client for each process."""

    def __init__(self, origins: list[str]) -> None:
        self._clients = [httpx2.AsyncClient(base_url=origin, timeout=60) for origin in origins]

    async def __aenter__(self) -> list[httpx2.AsyncClient]:
        return self._clients

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.aclose()


@pytest.fixture
def proxied(azurite: str) -> Iterator[tuple[StorageProxy, dict[str, str]]]:
    with proxy_before(azurite) as (proxy, connection_string):
        yield proxy, blob_settings(connection_string)


def reads_of_keys(proxy: StorageProxy) -> int:
    return sum("/keys/keys.json" in request.target for request in proxy.seen)


async def test_wrong_keys_cost_no_storage_requests(
    make_client: MakeClient,
    environment: dict[str, str],
    proxied: tuple[StorageProxy, dict[str, str]],
) -> None:
    proxy, storage = proxied
    web = {"sha256": digest("web-key")}
    client = make_client(environment | storage | admin_settings(web=web), {})
    for _ in range(50):
        assert await status(client, "web-key") == 200
    assert proxy.seen == []
    began = time.monotonic()
    found = await asyncio.gather(*(status(client, f"wrong-{number}") for number in range(500)))
    assert set(found) == {401}
    assert reads_of_keys(proxy) <= 1 + (time.monotonic() - began) // 10
    assert reads_of_keys(proxy) == len(proxy.seen) or len(proxy.seen) <= 4


async def test_while_storage_is_down_keys_that_are_known_serve_and_others_get_503(
    make_client: MakeClient,
    environment: dict[str, str],
    proxied: tuple[StorageProxy, dict[str, str]],
) -> None:
    proxy, storage = proxied
    web: dict[str, Any] = {"sha256": digest("web-key")}
    settings = environment | storage | admin_settings(web=web)
    known, fresh = make_client(settings, AS_ADMIN), make_client(settings, {})
    key = (await known.post("/keys", json={"name": "ann"})).json()["key"]
    proxy.decide = lambda request: BUSY
    assert [await status(known, each) for each in (key, "wrong", "web-key")] == [200, 401, 200]
    requests = len(proxy.seen)
    assert await status(fresh, "web-key") == 200
    assert len(proxy.seen) == requests
    response = await fresh.get("/server_time", headers={"X-Api-Key": key})
    assert (response.status_code, response.json()["code"]) == (503, "storage_unavailable")
    assert int(response.headers["retry-after"]) >= 1
    requests = len(proxy.seen)
    found = [await status(fresh, f"wrong-{number}") for number in range(20)]
    assert found == [503] * 20
    assert len(proxy.seen) == requests
