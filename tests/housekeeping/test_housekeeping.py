"""Regular work over each kind of storage: what nobody asks for is finished, leftovers are removed."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from shared.app import create_app
from shared.connections.config import ConnectionsConfig
from shared.connections.credentials import Secrets
from shared.connections.records import ConnectionRecord, PendingAuthorization
from shared.connections.store import ConnectionStore
from shared.errors import StorageUnavailable
from shared.housekeeping import FORGET_AFTER, RESULTS_KEPT, Bounds, Housekeeping
from shared.services import Services
from shared.settings import load_settings
from shared.storage import ObjectStore, Orphans, WorkItem, WorkItems
from shared.storage.ids import owner_key
from shared.storage.orphans import SETTLED_AFTER
from tests.conftest import AUTH, KEY, StandIn, digest
from tests.mcp.task_client import TaskClient
from tests.media.support import first_run_of

TIMEOUT_SECONDS = 150
"""Patience with what takes a second alone, and much longer where Azurite shares its core with others."""
NOTHING = dict.fromkeys(
    (
        "videos_checked",
        "videos_ended",
        "connections_removed",
        "media_removed",
        "items_given_up",
        "orphans_adopted",
        "orphans_removed",
        "orphans_unknown",
        "results_removed",
        "tasks_removed",
        "days_rolled_up",
        "errors",
    ),
    0,
)


@dataclass(frozen=True)
class World:
    """An app, and the regular work of another instance over the same storage.

    Attributes:
        http: A client of the app.
        services: What the regular work runs on.
        first_run: How far back it looks for media without a record at first.
    """

    http: httpx2.AsyncClient
    services: Services
    first_run: timedelta

    def housekeeping(
        self, later: timedelta = timedelta(), bounds: Bounds | None = None
    ) -> Housekeeping:
        """Returns the regular work as it is after some time."""
        return Housekeeping(
            self.services,
            bounds=bounds,
            clock=lambda: datetime.now(UTC) + later,
            orphans=self.orphans(SETTLED_AFTER),
        )

    def orphans(self, settled_after: timedelta) -> Orphans:
        """Returns what looks for media without a record."""
        return Orphans(
            self.services.storage, self.services.media, settled_after, first_run=self.first_run
        )

    async def run(self, later: timedelta = timedelta()) -> Counter[str]:
        """Runs it once."""
        return await self.housekeeping(later).run()

    @property
    def state(self) -> ObjectStore:
        """The container of state."""
        return self.services.storage.state

    async def names(self, prefix: str) -> list[str]:
        """Returns the names of what is stored under a prefix."""
        return [each.name for each in (await self.state.list(prefix, 1000)).objects]

    async def order(self, user: str = "default") -> str:
        """Orders a video, and returns the job's id."""
        response = await self.http.post(
            "/tools/generate_video",
            json={"prompt": "A hill", "seconds": 1},
            headers={"X-User-Id": user},
        )
        assert response.status_code == 202, response.text
        job_id: str = response.json()["id"]
        return job_id

    async def media(self, user: str = "default") -> list[dict[str, Any]]:
        """Returns what is listed for a user; this asks for no job."""
        response = await self.http.get("/media", headers={"X-User-Id": user})
        listed: list[dict[str, Any]] = response.json()["media"]
        return listed


@pytest.fixture
async def world(stored_environment: dict[str, str]) -> AsyncIterator[World]:
    async with running(stored_environment) as world:
        yield world


@pytest.fixture
async def local_world(environment: dict[str, str]) -> AsyncIterator[World]:
    """One over a folder, where the storage makes no difference."""
    async with running(environment) as world:
        yield world


@asynccontextmanager
async def running(environment: dict[str, str]) -> AsyncIterator[World]:
    """Runs an app whose key may name its user."""
    key = {"sha256": digest(KEY), "scopes": ["chat", "tools", "connections", "act-as"]}
    keys = json.dumps({"default": key})
    settings = load_settings(environment | {"MCP_API_KEY": "", "API_KEYS": keys})
    app, services = create_app(settings), Services.make(settings)
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://app", headers=AUTH) as client,
    ):
        yield World(client, services, first_run_of(environment))
    await services.aclose()


async def run_until(world: World, name: str, times: int) -> Counter[str]:
    """Runs it again and again, as the timer does, until something has been counted so often."""
    total: Counter[str] = Counter()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while total[name] < times:
            total += await world.run()
    return total


async def test_video_that_nobody_asks_for_is_stored_and_listed(
    world: World, stand_in: StandIn
) -> None:
    await world.order("alice")
    await world.order("bob")
    counts = await run_until(world, "videos_ended", 2)
    assert counts["errors"] == 0
    for user in ("alice", "bob"):
        [video] = await world.media(user)
        assert (video["content_type"], video["size_bytes"] > 0) == ("video/webm", True)
    assert await world.names("work/") == []
    asked = len(stand_in.requests())
    assert dict(await world.run()) == NOTHING
    assert len(stand_in.requests()) == asked


async def test_video_that_its_owner_asks_for_leaves_no_work(world: World) -> None:
    job_id = await world.order()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (await world.http.get(f"/videos/{job_id}")).json()["status"] != "completed":
            pass
    assert await world.names("work/") == []


async def test_failed_video_is_not_asked_for_again(world: World, stand_in: StandIn) -> None:
    stand_in.fault(video_error="The hill is too high.")
    job_id = await world.order()
    await run_until(world, "videos_ended", 1)
    job = (await world.http.get(f"/videos/{job_id}")).json()
    assert (job["status"], job["error"]["message"]) == ("failed", "The hill is too high.")
    assert await world.names("work/") == []


async def test_order_that_the_provider_refuses_leaves_no_work(
    world: World, stand_in: StandIn
) -> None:
    stand_in.fault(status=400, message="No hills")
    response = await world.http.post("/tools/generate_video", json={"prompt": "A hill"})
    assert response.status_code == 400
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while await world.names("work/"):
            pass


async def test_order_is_of_the_hash_of_its_principal_and_names_the_principal(world: World) -> None:
    job_id = await world.order("alice")
    [name] = await world.names("work/")
    owner = owner_key("alice")
    assert await WorkItems(world.state).read(name) == WorkItem(
        kind="video", owner=owner, id=job_id, principal="alice"
    )


async def test_order_without_a_record_is_forgotten_after_an_hour(world: World) -> None:
    items = WorkItems(world.services.storage.state)
    item = WorkItem(kind="video", owner=owner_key("alice"), id="0" * 44, principal="alice")
    await items.add(item, datetime.now(UTC))
    assert (await world.run())["videos_checked"] == 1
    assert len(await world.names("work/")) == 1
    await world.run(later=timedelta(hours=2))
    assert await world.names("work/") == []


async def test_two_runs_at_once_copy_each_video_once(world: World, stand_in: StandIn) -> None:
    for number in range(5):
        await world.order(f"user-{number}")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while await world.names("work/"):
            counts = await asyncio.gather(world.run(), world.run())
            assert [each["errors"] for each in counts] == [0, 0]
    for number in range(5):
        assert len(await world.media(f"user-{number}")) == 1
    contents = Counter(
        request["path"]
        for request in stand_in.requests()
        if request["path"].endswith("/content") and not request["query"]
    )
    assert list(contents.values()) == [1] * 5


async def test_provider_that_is_down_fails_one_job_and_not_the_others(
    local_world: World, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    await local_world.order("alice")
    await local_world.order("bob")
    caplog.set_level(logging.INFO, "shared.housekeeping")
    stand_in.fault(status=503)
    counts: Counter[str] = Counter()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not counts["errors"]:
            counts += await local_world.run()
    assert counts["errors"] == 1
    [line] = [each for each in logged(caplog) if each["errors"]]
    assert line["videos_checked"] == 2
    assert "provider_unavailable" in caplog.text
    await run_until(local_world, "videos_ended", 2)
    assert len(await local_world.media("alice")) == len(await local_world.media("bob")) == 1


async def test_video_that_no_provider_gives_is_given_up_after_a_week(
    local_world: World, stand_in: StandIn
) -> None:
    await local_world.order()
    stand_in.fault(status=503, times=100)
    counts = await local_world.run(later=FORGET_AFTER + timedelta(hours=1))
    assert counts["items_given_up"] == 1
    assert await local_world.names("work/") == []


async def test_run_is_bounded_and_the_next_one_goes_on(world: World, stand_in: StandIn) -> None:
    stand_in.fault(video_error="Too high", times=5)
    jobs = [await world.order() for _ in range(5)]
    housekeeping = world.housekeeping(bounds=Bounds(items=2, at_a_time=2))
    checked = []
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while await world.names("work/"):
            counts = await housekeeping.run()
            checked.append(counts["videos_checked"])
    assert max(checked) == 2
    for job_id in jobs:
        assert (await world.http.get(f"/videos/{job_id}")).json()["status"] == "failed"


async def test_run_without_time_begins_nothing(world: World) -> None:
    await world.order()
    counts = await world.housekeeping(bounds=Bounds(start_seconds=0)).run()
    assert dict(counts) == NOTHING


async def test_jobs_that_go_on_do_not_keep_the_others_from_their_turn(
    world: World, stand_in: StandIn
) -> None:
    stand_in.fault(hold_video=True, times=1000)
    for _ in range(3):
        await world.order("alice")
    stand_in.reset()
    await world.order("bob")
    housekeeping = world.housekeeping(bounds=Bounds(items=1, at_a_time=1))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not await world.media("bob"):
            await housekeeping.run()


async def add_leftovers(world: World, owner: str, count: int) -> None:
    """Adds items of connections that are there no more, due before everything else."""
    for number in range(count):
        item = WorkItem(kind="connection", owner=owner_key(owner), id=str(uuid4()))
        due = datetime.now(UTC) - timedelta(hours=1) + timedelta(seconds=number)
        await WorkItems(world.state).add(item, due)


async def test_videos_do_not_wait_for_connections_nor_the_other_way_round(world: World) -> None:
    await add_leftovers(world, "mallory", 10)
    await world.order("alice")
    housekeeping = world.housekeeping(bounds=Bounds(items=2, at_a_time=2))
    counts = await housekeeping.run()
    assert counts["videos_checked"] == 1
    assert len(await world.names("work/connection/")) == 8


async def test_nobody_takes_the_turn_of_other_owners(world: World) -> None:
    await add_leftovers(world, "mallory", 20)
    await add_leftovers(world, "alice", 1)
    housekeeping = world.housekeeping(bounds=Bounds(items=10, owner_items=4, at_a_time=4))
    await housekeeping.run()
    left = Counter(
        "alice" if owner_key("alice") in name else "mallory" for name in await world.names("work/")
    )
    assert left == {"mallory": 16}
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while await world.names("work/"):
            await housekeeping.run()


async def test_medium_whose_deletion_was_interrupted_is_removed(world: World) -> None:
    kept, deleted = [
        (await world.http.post("/tools/generate_image", json={"prompt": "A hill"})).json()
        for _ in range(2)
    ]
    [kept], [deleted] = kept["media"], deleted["media"]
    state = world.state
    [name] = [each for each in await world.names("media/") if deleted["id"] in each]
    data, info = await state.read(name)
    record = json.loads(data) | {"is_deleted": True}
    items = WorkItems(world.services.storage.state)
    for medium in (kept, deleted):
        item = WorkItem(kind="media", owner=owner_key("default"), id=medium["id"])
        await items.add(item, datetime.now(UTC) + timedelta(minutes=10))
    await state.replace(name, json.dumps(record).encode(), info.etag)
    assert dict(await world.run()) == NOTHING
    counts = await world.run(later=timedelta(minutes=11))
    assert counts["media_removed"] == 1
    media = await world.services.storage.media.list("", 1000)
    assert [kept["id"] in each.name for each in media.objects] == [True]
    assert [each["id"] for each in await world.media()] == [kept["id"]]
    assert await world.names("work/") == []


async def test_medium_whose_record_was_never_written_is_listed(world: World) -> None:
    made = await world.http.post("/tools/generate_image", json={"prompt": "A hill"})
    [medium] = made.json()["media"]
    state = world.state
    [name] = await world.names("media/")
    await state.delete(name)
    assert await world.media() == []
    housekeeping = Housekeeping(world.services, orphans=world.orphans(timedelta(0)))
    counts: Counter[str] = Counter()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        # The first runs look at what was before.
        while not counts["orphans_adopted"]:
            counts += await housekeeping.run()
    assert (counts["orphans_adopted"], counts["errors"]) == (1, 0)
    assert [each["id"] for each in await world.media()] == [medium["id"]]


async def test_deletion_leaves_no_work(world: World) -> None:
    made = await world.http.post("/tools/generate_image", json={"prompt": "A hill"})
    [medium] = made.json()["media"]
    assert (await world.http.delete(f"/media/{medium['id']}")).status_code == 204
    assert await world.names("work/") == []


async def test_abandoned_connections_are_removed_and_others_stay(world: World) -> None:
    owner = "0" * 32
    names = {
        status: await store_connection(world, owner, status, pending)
        for status, pending in (
            ("connected", None),
            ("connecting", None),
            ("authorizing", timedelta(minutes=10)),
            ("confirming", timedelta(minutes=10)),
            ("authorization_failed", timedelta(minutes=10)),
        )
    }
    assert dict(await world.run()) == NOTHING
    # The clock of the records is not ours: what is over has to be over.
    for status in ("connecting", "authorizing", "confirming", "authorization_failed"):
        await make_older(world, names[status], timedelta(minutes=20))
    counts = await world.run(later=timedelta(minutes=30))
    assert counts["connections_removed"] == 4
    assert counts["errors"] == 0
    assert await world.names("connections/") == [names["connected"]]
    assert await world.names("work/") == []


async def test_connection_that_still_waits_for_its_user_is_looked_at_again(world: World) -> None:
    name = await store_connection(world, "0" * 32, "authorizing", timedelta(minutes=10))
    counts = await world.run(later=timedelta(minutes=30))
    assert (counts["connections_removed"], counts["errors"]) == (0, 0)
    await make_older(world, name, timedelta(minutes=20))
    assert (await world.run(later=timedelta(minutes=30)))["connections_removed"] == 1


async def test_old_results_of_idempotency_keys_are_removed_from_a_folder(
    local_world: World,
) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"prompt": "Hello"}
    first = await local_world.http.post("/tools/chat_completion", json=body, headers=headers)
    assert first.status_code == 200
    assert (await local_world.run())["results_removed"] == 0
    counts = await local_world.run(later=RESULTS_KEPT + timedelta(minutes=1))
    assert counts["results_removed"] == 1
    assert await local_world.names("idempotency/") == []


async def test_tasks_whose_time_is_over_are_removed_from_a_folder(local_world: World) -> None:
    client = TaskClient(local_world.http)
    await client.end(await client.begin("generate_image", prompt="A hill", size="32x32"))
    assert (await local_world.run())["tasks_removed"] == 0
    counts = await local_world.run(later=RESULTS_KEPT + timedelta(minutes=1))
    assert counts["tasks_removed"] == 1
    assert await local_world.names("mcp-tasks/") == []


async def test_item_that_cannot_be_read_fails_alone_and_is_given_up(world: World) -> None:
    state = world.state
    await state.create(f"work/video/{1:012x}-x.json", b"not JSON")
    await world.order()
    counts = await world.run()
    assert counts["errors"] == 1
    assert counts["videos_checked"] == 1
    assert await world.names("work/video/000000000001") == []


async def test_run_is_one_line_in_the_log(
    local_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shared.housekeeping")
    await local_world.run()
    [line] = logged(caplog)
    assert line.pop("duration_ms") >= 0
    assert line == NOTHING


async def test_nothing_is_done_while_a_setting_is_malformed(
    environment: dict[str, str], stand_in: StandIn
) -> None:
    async with running(environment) as world:
        await world.order()
        asked = len(stand_in.requests())
        housekeeping = Housekeeping(world.services, ["The setting CHAT_MAX_TURNS is malformed."])
        assert dict(await housekeeping.run()) == NOTHING
        assert len(stand_in.requests()) == asked
        assert len(await world.names("work/")) == 1


async def test_storage_that_is_down_fails_the_run_and_is_said_in_the_line(
    environment: dict[str, str], unused_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    gone = f"http://127.0.0.1:{unused_port}/devstoreaccount1"
    connection = (
        "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=a2V5;"
        f"BlobEndpoint={gone};"
    )
    settings = environment | {
        "LOCAL_STORAGE_PATH": "",
        "AZURE_STORAGE_CONNECTION_STRING": connection,
    }
    services = Services.make(load_settings(settings))
    caplog.set_level(logging.INFO, "shared.housekeeping")
    with pytest.raises(StorageUnavailable):
        await Housekeeping(services).run()
    await services.aclose()
    [line] = logged(caplog)
    assert (line["errors"], line["code"]) == (1, "storage_unavailable")


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Returns the lines about runs."""
    return [
        json.loads(record.getMessage().removeprefix("housekeeping "))
        for record in caplog.records
        if record.getMessage().startswith("housekeeping {")
    ]


async def store_connection(world: World, owner: str, status: str, pending: timedelta | None) -> str:
    """Stores a connection as one that is being made, and returns its object's name."""

    now = datetime.now(UTC)
    record = ConnectionRecord.model_validate(
        {
            "id": str(uuid4()),
            "name": status,
            "transport": "http",
            "status": status,
            "created_at": now,
            "last_activity": now,
            "pending": PendingAuthorization(expires_at=now + pending) if pending else None,
        }
    )
    store = ConnectionStore(world.services.storage.state, ConnectionsConfig())
    item = WorkItem(kind="connection", owner=owner, id=record.id)
    await WorkItems(world.services.storage.state).add(item, now + timedelta(minutes=10))
    return (await store.create(owner, record, Secrets())).object_name


async def make_older(world: World, name: str, age: timedelta) -> None:
    """Moves the times of a connection's record into the past."""
    state = world.state
    data, info = await state.read(name)
    record = json.loads(data)
    for holder, key in ((record, "created_at"), (record["pending"] or {}, "expires_at")):
        if key in holder:
            holder[key] = (datetime.fromisoformat(holder[key]) - age).isoformat()
    await state.replace(name, json.dumps(record).encode(), info.etag)
