"""What is stored of tasks, and how long it can be asked for."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.auth import Principal
from shared.context import CallContext
from shared.deadline import Deadline
from shared.errors import NotFound
from shared.mcp_server.tasks import Tasks
from shared.mcp_server.tasks.records import TTL, TaskRecord, TaskRecords
from shared.services import Services
from shared.settings import load_settings
from shared.storage import IdempotencyStore, Operation

HILL = {"prompt": "A hill"}


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services.make(load_settings({"LOCAL_STORAGE_PATH": str(tmp_path)}))


def task_of(age: timedelta) -> TaskRecord:
    made_at = datetime.now(UTC) - age
    return TaskRecord(
        id=Operation.begin(made_at).id("task"),
        tool="generate_image",
        arguments=HILL,
        key="a key",
        message="Completed.",
        updated_at=made_at,
    )


async def test_task_can_be_asked_for_until_its_time_is_over(services: Services) -> None:
    records = TaskRecords(services.storage)
    young, old = task_of(TTL - timedelta(minutes=1)), task_of(TTL + timedelta(minutes=1))
    for task in (young, old):
        assert await records.add("alice", task) == task
    assert (await records.get("alice", young.id)).record == young
    with pytest.raises(NotFound):
        await records.get("alice", old.id)
    with pytest.raises(NotFound):
        await records.get("bob", young.id)


async def test_call_whose_key_had_a_task_that_is_over_is_made_without_a_task(
    services: Services,
) -> None:
    old = task_of(TTL + timedelta(minutes=1))
    store = IdempotencyStore(services.storage)
    request = b'generate_image {"prompt":"A hill"}'
    async with store.claim("alice", "a key", request, purpose="task") as claim:
        claim.result = old.id
    context = CallContext(
        Principal("alice", frozenset()), Deadline.after(60), idempotency_key="a key"
    )
    tasks = Tasks(services.tools, services.storage)
    async with context.scope():
        assert await tasks.begin("generate_image", HILL, context) is None
