"""Limits over several processes at once, one of which may be killed."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx2
import pytest

from tests.conftest import AUTH, KEY, StandIn, digest
from tests.media.app_process import AppProcess, running
from tests.ports import KEEP_ALIVE_SECONDS
from tests.waiting import until

pytestmark = pytest.mark.any_python

ALLOWED = 40
CALLS = 80
PROCESSES = 3


@pytest.fixture
def settings(stored_environment: dict[str, str]) -> dict[str, str]:
    alice = {"sha256": digest(KEY), "limits": {"requests_per_day": ALLOWED, "usd_per_day": 1}}
    return stored_environment | {"MCP_API_KEY": "", "API_KEYS": json.dumps({"alice": alice})}


@pytest.fixture
def apps(settings: dict[str, str]) -> Iterator[list[AppProcess]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running(settings)) for _ in range(PROCESSES)]


def client_of(app: AppProcess) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=CALLS, keepalive_expiry=KEEP_ALIVE_SECONDS)
    return httpx2.AsyncClient(base_url=app.origin, headers=AUTH, timeout=60, limits=limits)


async def call(client: httpx2.AsyncClient) -> int | str:
    try:
        body = {"prompt": "Hello", "max_tokens": 20}
        return (await client.post("/tools/generate", json=body)).status_code
    except httpx2.TransportError as error:
        return type(error).__name__


async def all_records(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    response = await client.get("/usage/records", params={"limit": 1000})
    assert response.status_code == 200, response.text
    records: list[dict[str, Any]] = response.json()["records"]
    return records


async def test_of_80_calls_at_once_on_three_processes_the_allowed_40_reach_the_provider(
    apps: list[AppProcess], stand_in: StandIn
) -> None:
    async with ClientsOf(apps) as clients:
        statuses = await asyncio.gather(*(call(clients[n % PROCESSES]) for n in range(CALLS)))
        assert Counter(statuses) == {200: ALLOWED, 429: CALLS - ALLOWED}
        assert len(stand_in.requests()) == ALLOWED
        # What is settled shows on every instance.
        for client in clients:
            records = await until(
                partial(all_records, client),
                lambda found: {each["status"] for each in found} == {"ok"},
            )
            total = (await client.get("/usage")).json()["total"]
            assert (len(records), total["requests"], total["provider_calls"]) == (ALLOWED,) * 3


async def test_killed_process_lets_no_more_through_and_takes_nothing_out_of_the_books(
    apps: list[AppProcess], stand_in: StandIn
) -> None:
    stand_in.fault(delay=0.3, times=CALLS)
    async with ClientsOf(apps) as clients:
        calls = [asyncio.create_task(call(clients[n % PROCESSES])) for n in range(CALLS)]
        await until(lambda: len(stand_in.requests()), lambda seen: seen >= ALLOWED // 4)
        apps[0].kill()
        statuses = await asyncio.gather(*calls)
        # Whoever is still let through after that is counted, too.
        statuses += await asyncio.gather(*(call(clients[1 + n % 2]) for n in range(20)))
        assert statuses.count(429) > 0
        reached = len(stand_in.requests())
        assert statuses.count(200) <= reached <= ALLOWED
        for client in clients[1:]:
            assert reached <= len(await all_records(client)) <= ALLOWED
            total = (await client.get("/usage")).json()["total"]
            assert reached <= total["provider_calls"] <= ALLOWED
            assert total["cost_usd"] > 0


async def test_call_that_is_made_again_after_a_crash_counts_again_and_its_repeats_do_not(
    apps: list[AppProcess], stand_in: StandIn
) -> None:
    """The provider was asked twice: the books are never below that."""
    headers = {"Idempotency-Key": "the-only-one"}
    body = {"prompt": "Hello", "max_tokens": 20}
    stand_in.fault(delay=30)
    async with ClientsOf(apps) as clients:

        async def repeat() -> httpx2.Response:
            return await clients[1].post("/tools/generate", json=body, headers=headers)

        first = asyncio.create_task(clients[0].post("/tools/generate", json=body, headers=headers))
        await until(lambda: stand_in.requests())
        apps[0].kill()
        with pytest.raises(httpx2.TransportError):
            await first
        again = await until(repeat, lambda response: response.status_code != 409)
        assert again.status_code == 200, again.text
        for _ in range(2):
            assert (await repeat()).json() == again.json()
        assert len(stand_in.requests()) == 2
        total = (await clients[1].get("/usage")).json()["total"]
        assert (total["requests"], total["provider_calls"]) == (2, 2)


class ClientsOf:
    """Clients of all apps, for as long as the block runs."""

    def __init__(self, apps: list[AppProcess]) -> None:
        self._clients = [client_of(app) for app in apps]

    async def __aenter__(self) -> list[httpx2.AsyncClient]:
        return self._clients

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(client.aclose() for client in self._clients))
