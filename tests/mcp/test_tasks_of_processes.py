"""Tasks when several processes answer for them, and when one is killed."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx2
import mcp_types as types
import pytest

from tests.conftest import AUTH, StandIn
from tests.gate import Gate, happened
from tests.mcp.support import TIMEOUT
from tests.mcp.task_client import TaskClient
from tests.media.app_process import running
from tests.media.kills import LEASE_PAUSE, kill_after_every_write
from tests.waiting import until

pytestmark = pytest.mark.any_python

HILL = {"prompt": "A hill", "size": "32x32"}


@asynccontextmanager
async def client_of(origin: str) -> AsyncIterator[TaskClient]:
    async with httpx2.AsyncClient(base_url=origin, headers=AUTH, timeout=TIMEOUT) as http:
        yield TaskClient(http)


async def test_every_process_answers_for_a_task(
    environment: dict[str, str], stand_in: StandIn, gate: Gate
) -> None:
    with ExitStack() as stack:
        origins = [stack.enter_context(running(environment)).origin for _ in range(2)]
        async with client_of(origins[0]) as first, client_of(origins[1]) as second:
            with gate.holding() as hold:
                task_id = await first.begin("generate_image", **HILL)
                assert await happened(hold.asked)
                assert (await second.get(task_id))["status"] == "working"
            done = await second.end(task_id)
            assert done["status"] == "completed"
            [medium] = done["result"]["structuredContent"]["media"]
            [same] = (await first.get(task_id))["result"]["structuredContent"]["media"]
            assert same["id"] == medium["id"]
            await second.cancel(task_id)
            assert (await first.get(task_id))["status"] == "completed"
    assert len(stand_in.requests()) == 1


@asynccontextmanager
async def begun_and_killed(environment: dict[str, str], gate: Gate) -> AsyncIterator[str]:
    """The id of a task whose process was killed while the provider was at work."""
    with gate.holding() as hold, running(environment) as app:
        async with client_of(app.origin) as client:
            task_id = await client.begin("generate_image", **HILL)
        assert await happened(hold.asked)
        app.kill()
        yield task_id


async def test_task_of_a_killed_process_is_taken_up_by_the_one_that_is_asked(
    environment: dict[str, str], stand_in: StandIn, gate: Gate
) -> None:
    async with begun_and_killed(environment, gate) as task_id:
        pass
    with running(environment) as app:
        async with client_of(app.origin) as client:
            task = await client.end(task_id, LEASE_PAUSE)
            listed = (await client.http.get("/media")).json()["media"]
    assert task["status"] == "completed"
    [medium] = task["result"]["structuredContent"]["media"]
    assert [each["id"] for each in listed] == [medium["id"]]
    assert len(stand_in.requests()) == 2


async def test_task_whose_second_process_is_killed_too_has_failed(
    environment: dict[str, str], stand_in: StandIn, gate: Gate
) -> None:
    async with begun_and_killed(environment, gate) as task_id:
        with running(environment) as app:
            async with client_of(app.origin) as client:
                await until(
                    lambda: client.get(task_id),
                    lambda task: len(stand_in.requests()) == 2,
                    pause=LEASE_PAUSE,
                )
            app.kill()
    with running(environment) as app:
        async with client_of(app.origin) as client:
            task = await client.end(task_id, LEASE_PAUSE)
    assert task["status"] == "failed"
    assert task["error"] == {"code": types.INTERNAL_ERROR, "message": task["statusMessage"]}
    assert "have died" in task["statusMessage"]
    assert len(stand_in.requests()) == 2


async def test_cancelled_task_of_a_killed_process_is_not_taken_up(
    environment: dict[str, str], stand_in: StandIn, gate: Gate
) -> None:
    async with begun_and_killed(environment, gate) as task_id:
        pass
    with running(environment) as app:
        async with client_of(app.origin) as client:
            await client.cancel(task_id)
            assert (await client.get(task_id))["status"] == "cancelled"
    assert len(stand_in.requests()) == 1


async def draw(http: httpx2.AsyncClient) -> dict[str, Any]:
    client = TaskClient(http)
    task_id = await client.begin("generate_image", "the-only-one", **HILL)
    return await client.end(task_id, LEASE_PAUSE)


@pytest.mark.timeout(900)  # Some rounds, each with an app of its own.
async def test_process_killed_after_any_write_of_a_task_leaves_one_medium_and_a_task_that_ends(
    azurite: str, environment: dict[str, str], stand_in: StandIn
) -> None:
    run = uuid4().hex
    settings = environment | {
        "AZURE_BLOB_CONTAINER": f"media-{run}",
        "AZURE_BLOB_STATE_CONTAINER": f"state-{run}",
    }

    async def check(http: httpx2.AsyncClient) -> None:
        task = await draw(http)
        assert task["status"] == "completed", task
        [medium] = task["result"]["structuredContent"]["media"]
        listed = (await http.get("/media")).json()["media"]
        assert [each["id"] for each in listed] == [medium["id"]]

    # The task, twice how far it is, the result, and heartbeats.
    folder, most = "/mcp-tasks/", 6
    rounds = await kill_after_every_write(azurite, settings, AUTH, draw, check, folder, most)
    assert rounds > 4
