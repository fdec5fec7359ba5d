"""Stores that earlier versions wrote, read by the app of today; `make_store` writes them."""

import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi import FastAPI

from shared.connections import ConnectionsConfig
from shared.connections.store import ConnectionStore
from shared.storage import SharedKey, Storage, WorkItems, owner_key
from shared.storage.links import KEY_OBJECT, LinkSigner
from shared.storage.media.objects import MediaSeals
from tests.conftest import StandIn
from tests.storage.make_store import (
    AS_ADMIN,
    BEARER,
    GRANT,
    PRINCIPAL,
    REPEATED,
    STORES,
    ask,
    contains,
    serving,
    settings_of,
    stable,
    tool,
)


@dataclass(frozen=True, slots=True)
class Store:
    """A copy of a store of an earlier version.

    Attributes:
        folder: Where the copy is.
        expected: What reading it answers.
        app: An app over it.
        client: Calls the app.
    """

    folder: Path
    expected: dict[str, Any]
    app: FastAPI
    client: httpx2.AsyncClient


@pytest.fixture(params=sorted(path.name for path in STORES.iterdir()))
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, stand_in: StandIn
) -> AsyncIterator[Store]:
    folder = tmp_path / "store"
    shutil.copytree(STORES / request.param / "store", folder)
    expected = json.loads((STORES / request.param / "expected.json").read_text(encoding="utf-8"))
    async with serving(settings_of(folder, stand_in.base_url)) as (app, client):
        yield Store(folder, expected, app, client)


@pytest.fixture
async def storage(store: Store) -> AsyncIterator[Storage]:
    storage = Storage(settings_of(store.folder, "http://provider"))
    yield storage
    await storage.aclose()


async def test_conversations_media_jobs_and_connections_are_shown_as_they_were(
    store: Store, stand_in: StandIn
) -> None:
    for path, expected in store.expected["answers"].items():
        shown = stable(await ask(store.client, "GET", path))
        assert contains(shown, stable(expected)), (path, shown, expected)
    assert stand_in.requests() == []


async def test_conversation_goes_on(store: Store) -> None:
    [listed] = store.expected["answers"]["/conversations"]["conversations"]
    message = {"message": "Where were we?", "conversation_id": listed["id"], "tools": []}
    answer = await ask(store.client, "POST", "/chat", json=message)
    assert answer["conversation_id"] == listed["id"]
    before = store.expected["answers"][f"/conversations/{listed['id']}"]["messages"]
    now = (await ask(store.client, "GET", f"/conversations/{listed['id']}"))["messages"]
    assert len(now) == len(before) + 2


async def test_tasks_are_kept_and_can_be_changed(store: Store) -> None:
    listed = await tool(store.client, "list_tasks")
    assert contains(listed, store.expected["tasks"])
    for task in listed["tasks"]:
        await tool(store.client, "delete_task", task_id=task["id"])
    assert (await tool(store.client, "list_tasks"))["count"] == 0


async def test_idempotency_key_returns_the_stored_result(store: Store, stand_in: StandIn) -> None:
    name, arguments, key = REPEATED
    again = await tool(store.client, name, key, **arguments)
    assert contains(stable(again), stable(store.expected["repeated"]))
    assert stand_in.requests() == []


async def test_bytes_of_media_are_served_and_deleted(store: Store) -> None:
    for media_id, digest in store.expected["files"].items():
        shown = await store.client.get(f"/media/{media_id}")
        assert hashlib.sha256(shown.content).hexdigest() == digest
        assert (await store.client.delete(f"/media/{media_id}")).status_code == 204
    assert (await ask(store.client, "GET", "/media"))["media"] == []


async def test_links_that_were_signed_hold(store: Store, storage: Storage) -> None:
    link = urlsplit(store.expected["link"])
    shown = await store.client.get(f"{link.path}?{link.query}", headers={"Authorization": ""})
    assert shown.status_code == 200
    signer = LinkSigner(SharedKey(storage.state, KEY_OBJECT).load, "http://app")
    link = urlsplit(store.expected["proxied_link"])
    query = dict(pair.split("=") for pair in link.query.split("&"))
    refusal = await signer.refusal("images/a.png", query["expires"], query["signature"])
    assert refusal is None


async def test_objects_still_say_to_us_whose_they_are(store: Store, storage: Storage) -> None:
    name, expected = store.expected["sealed"]
    text = (await storage.media.describe(name)).metadata["owner"]
    sealed = await MediaSeals(storage).open(text, Path(name).stem)
    assert sealed is not None
    assert contains(sealed.model_dump(mode="json"), expected)


async def test_credentials_of_connections_are_opened(store: Store, storage: Storage) -> None:
    connections = ConnectionStore(storage.state, ConnectionsConfig(generates_key=True))
    found = await connections.read(owner_key(PRINCIPAL), store.expected["connection"])
    assert (await connections.secrets(found)).bearer_token == BEARER


async def test_usage_changes_and_keys_are_shown_as_they_were(store: Store) -> None:
    for path, expected in store.expected["books"].items():
        shown = await ask(store.client, "GET", path, headers=AS_ADMIN)
        if path == "/keys":
            # The overlap of the rotation has ended since.
            for key in (*shown["keys"], *expected["keys"]):
                key["valid_keys"] = min(key["valid_keys"], 1)
        assert contains(shown, expected), (path, shown, expected)


async def test_stored_key_and_its_limits_hold(store: Store) -> None:
    headers = {"Authorization": "", "X-Api-Key": store.expected["stored_key"]}
    me = await ask(store.client, "GET", "/me", headers=headers)
    assert (me["principal"], me["scopes"], me["models"]) == ("ann", ["tools"], ["gpt-*"])
    assert {name: each["limit"] for name, each in me["limits"].items()} == GRANT["limits"]


async def test_work_items_are_found_and_housekeeping_runs(store: Store, storage: Storage) -> None:
    items = WorkItems(storage.state)
    [name] = (await items.due("video", datetime.now(UTC), 10)).names
    item = await items.read(name)
    assert item is not None
    assert f"/videos/{item.id}" in store.expected["answers"]
    assert (await store.app.state.housekeeping.run())["errors"] == 0


def records() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(STORES.glob("*/store/state/**/*.json*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield path.relative_to(STORES), json.loads(line)


def test_everything_that_is_stored_says_its_version() -> None:
    assert [path for path, record in records() if not isinstance(record.get("v"), int)] == []
