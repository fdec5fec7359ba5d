"""The to-do tools: one list for each user, whoever changes it, from wherever."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from pytest_mock import MockerFixture

from shared.storage import FolderStore, ObjectChanged, ObjectInfo, records
from shared.tools import tasks
from tests.conftest import MakeClient, StandIn, digest


@pytest.fixture
def app(make_client: MakeClient, stored_environment: dict[str, str]) -> httpx2.AsyncClient:
    """An app over each kind of storage."""
    return make_client(stored_environment)


async def call(client: httpx2.AsyncClient, name: str, **arguments: Any) -> dict[str, Any]:
    response = await client.post(f"/tools/{name}", json=arguments)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


async def refuse(client: httpx2.AsyncClient, name: str, **arguments: Any) -> tuple[int, Any]:
    response = await client.post(f"/tools/{name}", json=arguments)
    body = response.json()
    return response.status_code, body.get("errors", body["detail"])


async def test_task_is_added_changed_completed_and_deleted(app: httpx2.AsyncClient) -> None:
    assert await call(app, "list_tasks") == {"tasks": [], "count": 0, "filter": "all"}
    milk = await call(app, "add_task", title="Milk", description="Two litres")
    milk_id = milk["task_id"]
    assert milk == {"task_id": milk_id, "status": "created", "title": "Milk"}
    bread_id = (await call(app, "add_task", title="Bread"))["task_id"]
    assert await call(app, "complete_task", task_id=milk_id) == {
        "task_id": milk_id,
        "status": "completed",
        "title": "Milk",
    }
    assert await call(app, "update_task", task_id=bread_id, title="Rye bread") == {
        "task_id": bread_id,
        "status": "updated",
        "title": "Rye bread",
    }
    await call(app, "update_task", task_id=bread_id, description="Fresh")
    done = {"id": milk_id, "title": "Milk", "description": "Two litres", "completed": True}
    to_do = {"id": bread_id, "title": "Rye bread", "description": "Fresh", "completed": False}
    assert await call(app, "list_tasks") == {"tasks": [done, to_do], "count": 2, "filter": "all"}
    for status, shown in (("completed", [done]), ("pending", [to_do])):
        listed = await call(app, "list_tasks", status=status)
        assert listed == {"tasks": shown, "count": 1, "filter": status}
    assert await call(app, "delete_task", task_id=milk_id) == {
        "task_id": milk_id,
        "status": "deleted",
        "title": "Milk",
    }
    assert (await call(app, "list_tasks"))["tasks"] == [to_do]


@pytest.mark.parametrize("name", ["complete_task", "update_task", "delete_task"])
async def test_unknown_task_is_not_found(client: httpx2.AsyncClient, name: str) -> None:
    arguments = {"title": "x"} if name == "update_task" else {}
    status, detail = await refuse(client, name, task_id="none", **arguments)
    assert (status, detail) == (404, "There is no task 'none'. list_tasks tells the ids.")


@pytest.mark.parametrize(
    ("name", "arguments", "field"),
    [
        ("add_task", {}, "title"),
        ("add_task", {"title": ""}, "title"),
        ("add_task", {"title": "  "}, "title"),
        ("add_task", {"title": "x" * 201}, "title"),
        ("add_task", {"title": "x", "description": "x" * 2001}, "description"),
        ("list_tasks", {"status": "open"}, "status"),
        ("complete_task", {"task_id": 1}, "task_id"),
        ("update_task", {"task_id": "x"}, "title"),
    ],
)
async def test_wrong_argument_is_named(
    client: httpx2.AsyncClient, name: str, arguments: dict[str, Any], field: str
) -> None:
    status, [complaint] = await refuse(client, name, **arguments)
    assert (status, complaint["loc"]) == (422, ["body", field])


async def test_list_is_full_at_its_limit(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "MAX_TASKS", 2)
    for _ in range(2):
        await call(client, "add_task", title="x" * 200, description="y" * 2000)
    assert await refuse(client, "add_task", title="One more") == (
        422,
        [
            {
                "type": "value_error",
                "loc": ["body", "title"],
                "msg": "the list is full with 2 tasks; delete some with delete_task",
            }
        ],
    )
    assert (await call(client, "list_tasks"))["count"] == 2


async def test_no_task_of_concurrent_writers_is_lost(
    make_client: MakeClient, stored_environment: dict[str, str]
) -> None:
    apps = [make_client(stored_environment) for _ in range(2)]
    added = await asyncio.gather(
        *(call(apps[number % 2], "add_task", title=f"Task {number}") for number in range(20))
    )
    listed = (await call(apps[0], "list_tasks"))["tasks"]
    assert sorted(task["id"] for task in listed) == sorted(each["task_id"] for each in added)
    assert len({task["title"] for task in listed}) == 20
    await asyncio.gather(
        *(
            call(apps[number % 2], "complete_task", task_id=each["task_id"])
            for number, each in enumerate(added)
        )
    )
    assert (await call(apps[1], "list_tasks", status="pending"))["count"] == 0


async def test_different_changes_at_once_all_take_place(
    make_client: MakeClient, stored_environment: dict[str, str]
) -> None:
    one, other = make_client(stored_environment), make_client(stored_environment)
    kept = (await call(one, "add_task", title="kept"))["task_id"]
    gone = (await call(one, "add_task", title="gone"))["task_id"]
    results = await asyncio.gather(
        call(one, "add_task", title="new"),
        call(other, "complete_task", task_id=kept),
        call(one, "update_task", task_id=kept, description="changed"),
        call(other, "delete_task", task_id=gone),
    )
    assert (await call(other, "list_tasks"))["tasks"] == [
        {"id": kept, "title": "kept", "description": "changed", "completed": True},
        {"id": results[0]["task_id"], "title": "new", "description": "", "completed": False},
    ]


async def test_writers_of_one_app_do_not_get_into_each_others_way(
    client: httpx2.AsyncClient, mocker: MockerFixture
) -> None:
    written: list[str] = []
    replace = FolderStore.replace

    async def counted(self: FolderStore, name: str, *rest: Any) -> ObjectInfo:
        written.append(name)
        return await replace(self, name, *rest)

    mocker.patch.object(FolderStore, "replace", counted)
    await call(client, "add_task", title="first")
    await asyncio.gather(*(call(client, "add_task", title="more") for _ in range(8)))
    assert len(written) == 8


async def test_writer_who_is_late_every_time_gets_409(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture
) -> None:
    written: list[str] = []

    async def changed(self: FolderStore, name: str, *rest: Any) -> ObjectInfo:
        written.append(name)
        raise ObjectChanged

    await call(client, "add_task", title="first")
    monkeypatch.setattr(records, "LONGEST_BACKOFF_SECONDS", 0)
    mocker.patch.object(FolderStore, "replace", changed)
    response = await client.post("/tools/add_task", json={"title": "second"})
    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    assert response.headers["retry-after"] == "1"
    assert len(written) == records.MAX_ATTEMPTS


async def test_longest_texts_are_kept_as_they_are(client: httpx2.AsyncClient) -> None:
    title, description = "\u00e9" * 200, "\U0001f95b" * 2000
    added = await call(client, "add_task", title=title, description=description)
    task = {"id": added["task_id"], "title": title, "description": description}
    assert (await call(client, "list_tasks"))["tasks"] == [{**task, "completed": False}]


async def test_two_users_never_see_each_others_tasks(
    make_client: MakeClient, stored_environment: dict[str, str]
) -> None:
    web = {"sha256": digest("web-key"), "scopes": ["tools", "chat", "act-as"]}
    client = make_client(stored_environment | {"API_KEYS": json.dumps({"web": web})}, {})
    client.headers = httpx2.Headers({"X-Api-Key": "web-key", "X-User-Id": "ann"})
    task_id = (await call(client, "add_task", title="Ann's secret"))["task_id"]
    client.headers["X-User-Id"] = "bob"
    assert (await call(client, "list_tasks"))["tasks"] == []
    for name in ("complete_task", "delete_task"):
        assert (await refuse(client, name, task_id=task_id))[0] == 404
    assert (await refuse(client, "update_task", task_id=task_id, title="Bob's"))[0] == 404
    answer = (await client.post("/chat", json={"message": "list_tasks"})).json()
    assert "secret" not in json.dumps(answer)
    client.headers["X-User-Id"] = "ann"
    [task] = (await call(client, "list_tasks"))["tasks"]
    assert (task["title"], task["completed"]) == ("Ann's secret", False)


async def test_chat_adds_a_task_and_then_shows_the_list(
    app: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(call_tools=["add_task"], tool_arguments='{"title": "milk"}')
    stand_in.fault(call_tools=["list_tasks"])
    answer = (await app.post("/chat", json={"message": "Add milk, then show my list"})).json()
    assert [call["name"] for call in answer["tool_calls"]] == ["add_task", "list_tasks"]
    added, listed = (call["result"] for call in answer["tool_calls"])
    assert (added["title"], added["status"]) == ("milk", "created")
    assert [task["title"] for task in listed["tasks"]] == ["milk"]
    assert answer["turns"] == 3


async def test_repeat_with_a_key_adds_nothing(app: httpx2.AsyncClient) -> None:
    headers = {"Idempotency-Key": "milk"}
    answers = [
        (await app.post("/tools/add_task", json={"title": "milk"}, headers=headers)).json()
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    await call(app, "add_task", title="milk")
    assert (await call(app, "list_tasks"))["count"] == 2


async def test_chat_that_is_run_again_adds_each_task_once(
    app: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    body = {"message": "Add milk twice"}
    headers = {"Idempotency-Key": "milk"}
    twice = {"call_tools": ["add_task"] * 2, "tool_arguments": '{"title": "milk"}'}
    stand_in.fault(**twice)
    stand_in.fault(status=401)
    assert (await app.post("/chat", json=body, headers=headers)).status_code == 502
    assert (await call(app, "list_tasks"))["count"] == 2
    stand_in.fault(**twice)
    stand_in.fault(**twice)
    answer = (await app.post("/chat", json=body, headers=headers)).json()
    listed = await call(app, "list_tasks")
    assert [each["result"]["status"] for each in answer["tool_calls"]] == ["created"] * 4
    assert {each["result"]["task_id"] for each in answer["tool_calls"]} == {
        task["id"] for task in listed["tasks"]
    }
    assert listed["count"] == 4
