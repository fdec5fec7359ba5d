"""Calls that take long become tasks for clients that declare the extension, on any instance."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from local.stand_in import VIDEO_MODEL
from shared.app import create_app
from shared.mcp_server.tasks.service import MAX_RUNNING
from shared.settings import load_settings
from shared.timing import Timing
from tests.conftest import AUTH, KEY, StandIn, ThreadServer, digest
from tests.gate import Gate, happened
from tests.mcp.support import HEADERS, TIMEOUT, answers, connected, initialize, request
from tests.mcp.task_client import EXTENSION, TaskClient, TaskSupport
from tests.waiting import until

HILL = {"prompt": "A hill", "size": "32x32"}
OTHER_KEY = "the-key-of-somebody-else"
POOR_KEY = "a-key-with-one-request-a-day"
NEVER = "f" * 44
METHODS = ("tasks/get", "tasks/update", "tasks/cancel")
UNKNOWN = {
    "code": types.INVALID_PARAMS,
    "message": "There is no task of this taskId, or the time of its ttlMs is over.",
}


@pytest.fixture(scope="module")
def origin(stand_in_server: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    keys = {
        "one": {"sha256": digest(KEY)},
        "other": {"sha256": digest(OTHER_KEY)},
        "poor": {"sha256": digest(POOR_KEY), "limits": {"requests_per_day": 1}},
    }
    environment = {
        "API_KEYS": json.dumps(keys),
        "OPENAI_BASE_URL": stand_in_server.base_url,
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_VIDEO_MODEL": VIDEO_MODEL,
        "LOCAL_STORAGE_PATH": str(tmp_path_factory.mktemp("storage")),
    }
    app = create_app(load_settings(environment), Timing(longest_video_poll=0))
    with ThreadServer(app) as server:
        yield server.origin


@pytest.fixture
async def http(origin: str, stand_in: StandIn) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=origin, headers=AUTH, timeout=TIMEOUT) as client:
        yield client


@pytest.fixture
def client(http: httpx2.AsyncClient) -> TaskClient:
    return TaskClient(http)


async def media_ids(http: httpx2.AsyncClient) -> list[str]:
    return [each["id"] for each in (await http.get("/media")).json()["media"]]


async def test_picture_of_a_task_is_as_that_of_a_plain_call(client: TaskClient) -> None:
    created = await client.call("generate_image", **HILL)
    assert created["ttlMs"] == 24 * 60 * 60 * 1000
    assert created["createdAt"].endswith("Z")
    task = await client.end(created["taskId"])
    plain = await TaskClient(client.http, declares=False).call("generate_image", **HILL)
    result = task["result"]
    assert (task["status"], task["statusMessage"]) == ("completed", "Completed.")
    assert {**result, "content": 0, "structuredContent": 0} == {
        "resultType": "complete",
        "content": 0,
        "structuredContent": 0,
        "isError": False,
    }
    assert [each["type"] for each in result["content"]] == [
        each["type"] for each in plain["content"]
    ]
    [medium] = result["structuredContent"]["media"]
    assert result["content"][1]["uri"] == f"media://{medium['id']}"


async def test_official_client_gets_the_result_of_a_task(origin: str, stand_in: StandIn) -> None:
    support = TaskSupport()
    async with (
        httpx2.AsyncClient(headers=AUTH, timeout=TIMEOUT) as http,
        Client(
            streamable_http_client(f"{origin}/mcp", http_client=http),
            mode="auto",
            extensions=[support],
        ) as client,
    ):
        assert EXTENSION in (client.server_capabilities.extensions or {})
        drawn = await client.call_tool("generate_image", HILL)
        assert [each.type for each in drawn.content] == ["text", "resource_link", "image"]
        media_id = drawn.structured_content and drawn.structured_content["media"][0]["id"]
        assert support.seen[-1] == "Completed."
        edited = await client.call_tool("edit_image", {"prompt": "Night", "images": [media_id]})
        assert [each.type for each in edited.content] == ["text", "resource_link", "image"]
        filmed = await client.call_tool("generate_video", {"prompt": "A hill", "seconds": 1})
        assert [each.type for each in filmed.content] == ["text", "resource_link"]
        assert filmed.structured_content
        assert filmed.structured_content["status"] == "completed"


async def test_result_of_a_task_has_the_kinds_of_content_that_the_address_names(
    origin: str, stand_in: StandIn
) -> None:
    async with (
        httpx2.AsyncClient(headers=AUTH, timeout=TIMEOUT) as http,
        Client(
            streamable_http_client(f"{origin}/mcp?content=image", http_client=http),
            mode="auto",
            extensions=[TaskSupport()],
        ) as client,
    ):
        drawn = await client.call_tool("generate_image", HILL)
        filmed = await client.call_tool("generate_video", {"prompt": "A hill", "seconds": 1})
    assert [each.type for each in drawn.content] == ["text", "image"]
    assert [each.type for each in filmed.content] == ["text"]


async def test_progress_of_the_call_is_the_message_of_the_task(
    client: TaskClient, stand_in: StandIn, gate: Gate
) -> None:
    with gate.holding() as hold:
        task_id = await client.begin("generate_image", **HILL)
        assert await happened(hold.asked)
        working = await client.get(task_id)
    assert (working["status"], working["statusMessage"]) == ("working", "Waiting for the model")
    assert "result" not in working
    assert (await client.end(task_id))["lastUpdatedAt"] > working["lastUpdatedAt"]


async def test_video_is_a_task_until_it_is_stored(client: TaskClient, stand_in: StandIn) -> None:
    stand_in.fault(match={"path": "videos/"}, hold_video=True)
    task_id = await client.begin("generate_video", prompt="A hill", seconds=1)
    held = await until(lambda: client.get(task_id), lambda task: "job" in task["statusMessage"])
    assert held["status"] == "working"
    assert held["statusMessage"].startswith("The job is ")
    task = await client.end(task_id)
    made = task["result"]["structuredContent"]
    assert task["result"]["content"][1]["uri"] == f"media://{made['media']['id']}"
    plain = await client.call("get_video", job_id=made["id"])
    assert plain["structuredContent"]["media"]["id"] == made["media"]["id"]


async def test_video_that_fails_is_an_error_of_the_call(
    client: TaskClient, stand_in: StandIn
) -> None:
    stand_in.fault(match={"path": "videos"}, video_error="Too dark.")
    task = await client.end(await client.begin("generate_video", prompt="A hill", seconds=1))
    assert (task["status"], task["result"]["isError"]) == ("completed", True)
    assert task["result"]["structuredContent"]["error"]["message"] == "Too dark."


async def test_only_clients_that_declare_the_extension_get_tasks(
    client: TaskClient, origin: str
) -> None:
    plain = TaskClient(client.http, declares=False)
    result = await plain.call("generate_image", **HILL)
    assert result["resultType"] == "complete"
    assert result["structuredContent"]["media"]
    task_id = await client.begin("generate_image", **HILL)
    for method in METHODS:
        error = await plain.error(method, {"taskId": task_id, "inputResponses": {}})
        assert error["code"] == -32021
        assert error["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    assert (await client.end(task_id))["status"] == "completed"
    async with connected(f"{origin}/mcp", "legacy") as legacy:
        old = await legacy.call_tool("generate_image", HILL)
        assert not old.is_error


async def test_earlier_revisions_know_no_tasks(http: httpx2.AsyncClient) -> None:
    [greeting] = answers(await http.post("/mcp", json=initialize("2025-11-25"), headers=HEADERS))
    assert "extensions" not in greeting["result"]["capabilities"]
    ask = request(2, "tasks/get", {"taskId": NEVER})
    headers = {**HEADERS, "MCP-Protocol-Version": "2025-11-25"}
    [answer] = answers(await http.post("/mcp", json=ask, headers=headers))
    assert answer["error"]["code"] == types.METHOD_NOT_FOUND


async def test_tools_that_answer_soon_are_called_without_a_task(client: TaskClient) -> None:
    for tool, arguments in (("synthesize_speech", {"text": "Hello"}), ("list_tasks", {})):
        assert (await client.call(tool, **arguments))["resultType"] == "complete"


async def test_wrong_arguments_are_told_at_once_and_begin_nothing(
    client: TaskClient, stand_in: StandIn
) -> None:
    result = await client.call("generate_image", prompt="A hill", size="huge")
    assert (result["resultType"], result["isError"]) == ("complete", True)
    assert "size" in result["content"][0]["text"]
    assert stand_in.requests() == []


async def test_refusal_of_the_provider_is_the_result_and_stays(
    client: TaskClient, stand_in: StandIn
) -> None:
    stand_in.fault(status=400, code="content_filter", message="Not this hill.")
    task_id = await client.begin("generate_image", **HILL)
    task = await client.end(task_id)
    assert (task["status"], task["result"]["isError"]) == ("completed", True)
    assert "Not this hill." in task["result"]["content"][0]["text"]
    assert await client.get(task_id) == task
    assert len(stand_in.requests()) == 1


async def test_limits_hold_for_tasks(origin: str, stand_in: StandIn) -> None:
    headers = {"Authorization": f"Bearer {POOR_KEY}"}
    async with httpx2.AsyncClient(base_url=origin, headers=headers, timeout=TIMEOUT) as http:
        poor = TaskClient(http)
        first = await poor.end(await poor.begin("generate_image", **HILL))
        second = await poor.end(await poor.begin("generate_image", **HILL))
        me = (await http.get("/me")).json()["limits"]["requests_per_day"]
    assert not first["result"]["isError"]
    assert second["result"]["isError"]
    assert "The limit requests_per_day of 1 is reached." in second["result"]["content"][0]["text"]
    assert (me["used"], len(stand_in.requests())) == (1, 1)


async def test_above_the_most_runs_of_an_instance_calls_are_answered_without_a_task(
    client: TaskClient, stand_in: StandIn, gate: Gate
) -> None:
    # Without a task it fails at once; a task would begin.
    unknown: dict[str, Any] = {"prompt": "Night", "images": [NEVER]}
    with gate.holding():
        begun = [await client.begin("generate_image", **HILL) for _ in range(MAX_RUNNING)]
        plain = await client.call("edit_image", **unknown)
    assert (plain["resultType"], plain["isError"]) == ("complete", True)
    for task_id in begun:
        assert (await client.end(task_id))["status"] == "completed"
    task_id = await client.begin("edit_image", **unknown)
    assert (await client.end(task_id))["result"]["isError"]


async def test_task_of_somebody_else_is_as_unknown_as_none(client: TaskClient, origin: str) -> None:
    task_id = await client.begin("generate_image", **HILL)
    theirs = {"Authorization": f"Bearer {OTHER_KEY}"}
    async with httpx2.AsyncClient(base_url=origin, headers=theirs, timeout=TIMEOUT) as http:
        other = TaskClient(http)
        for asked in (task_id, NEVER, "../tasks", "x" * 5000):
            for method in METHODS:
                params = {"taskId": asked, "inputResponses": {}}
                assert await other.error(method, params) == UNKNOWN
    assert (await client.end(task_id))["status"] == "completed"


async def test_cancelled_task_is_cancelled_and_what_was_ordered_is_kept(
    client: TaskClient, stand_in: StandIn, gate: Gate
) -> None:
    before = await media_ids(client.http)
    with gate.holding() as hold:
        task_id = await client.begin("generate_image", **HILL)
        assert await happened(hold.asked)
        assert set(await client.cancel(task_id)) == {"resultType", "_meta"}
        assert (await client.get(task_id))["status"] == "cancelled"
    told = await until(
        lambda: client.get(task_id), lambda task: "media://" in task["statusMessage"]
    )
    assert told["status"] == "cancelled"
    [kept] = set(await media_ids(client.http)) - set(before)
    assert f"media://{kept}" in told["statusMessage"]
    await client.cancel(task_id)
    assert await client.get(task_id) == told


async def test_cancelled_video_goes_on_as_a_job(client: TaskClient, stand_in: StandIn) -> None:
    task_id = await client.begin("generate_video", prompt="A hill", seconds=1)
    await until(stand_in.requests)
    await client.cancel(task_id)
    told = await until(
        lambda: client.get(task_id), lambda task: "job " in task["statusMessage"].lower()
    )
    assert told["status"] == "cancelled"
    jobs = (await client.http.get("/videos")).json()["videos"]
    assert jobs[0]["id"] in told["statusMessage"]


async def test_call_that_waits_for_an_equal_one_is_not_ordered_once_it_is_cancelled(
    client: TaskClient, stand_in: StandIn, gate: Gate
) -> None:
    stand_in.fault(status=500)
    plain = TaskClient(client.http, declares=False)
    key = "waits for an equal one"
    with gate.holding() as hold:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(plain.call("generate_image", key, **HILL))
            assert await happened(hold.asked)
            task_id = await client.begin("generate_image", key, **HILL)
            await client.cancel(task_id)
            hold.over.set()
    assert first.result()["isError"]
    told = await until(
        lambda: client.get(task_id), lambda task: "before anything" in task["statusMessage"]
    )
    assert told["status"] == "cancelled"
    assert len(stand_in.requests()) == 1


async def test_call_repeated_with_its_key_is_the_same_task_and_paid_once(
    client: TaskClient, stand_in: StandIn
) -> None:
    key = "one hill only"
    first = await client.begin("generate_image", key, **HILL)
    assert await client.begin("generate_image", key, **HILL) == first
    made = (await client.end(first))["result"]["structuredContent"]["media"]
    again = await client.call("generate_image", key, **HILL)
    assert (again["taskId"], again["status"]) == (first, "completed")
    plain = await TaskClient(client.http, declares=False).call("generate_image", key, **HILL)
    assert [each["id"] for each in plain["structuredContent"]["media"]] == [
        each["id"] for each in made
    ]
    assert len(stand_in.requests()) == 1
    other = await client.call("generate_image", key, prompt="A lake")
    assert other["isError"]
    assert "Use a new key for each request" in other["content"][0]["text"]


async def test_header_that_routes_requests_has_to_name_the_task(client: TaskClient) -> None:
    task_id = await client.begin("generate_image", **HILL)
    error = await client.error("tasks/get", {"taskId": task_id}, **{"Mcp-Name": NEVER})
    assert error["code"] == types.HEADER_MISMATCH
    await client.end(task_id)


async def test_responses_that_no_task_has_asked_for_are_ignored(client: TaskClient) -> None:
    task_id = await client.begin("generate_image", **HILL)
    params = {"taskId": task_id, "inputResponses": {"name": {"action": "accept"}}}
    assert (await client.result("tasks/update", params))["resultType"] == "complete"
    assert (await client.end(task_id))["status"] == "completed"
    error = await client.error("tasks/update", {"taskId": task_id})
    assert error["code"] == types.INVALID_PARAMS
