"""What is left of a principal whose data were deleted."""

from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from shared.auth import Guard, KeyAuthenticator
from shared.keys import AdminChanges
from shared.principal_data import PrincipalData
from shared.routes.middleware import RequestMiddleware
from shared.routes.principals import principals_router
from shared.settings import load_settings
from shared.storage import MediaStore, Storage
from tests.conftest import MakeClient, digest
from tests.keys.conftest import AS_ADMIN, admin_settings
from tests.mcp.task_client import TaskClient

pytestmark = pytest.mark.any_python

ALL = ["chat", "tools", "connections", "openai"]


def state_of(folder: Path) -> set[str]:
    """Returns the objects of a folder store that belong to somebody."""
    kept = (
        "changes",
        "keys",
        "housekeeping",
        "media-owners",
        "media-links",
        "connections/encryption",
    )
    names = {
        str(path.relative_to(folder / "state"))
        for path in (folder / "state").rglob("*")
        if path.is_file()
    }
    return {name for name in names if not name.startswith(kept)}


def is_of_the_ledger(name: str) -> bool:
    return name.startswith("usage/")


async def use_everything(client: httpx2.AsyncClient, key: str) -> None:
    """Leaves something of each kind behind."""
    client.headers["X-Api-Key"] = key
    for path, body in (
        ("/chat", {"message": "hi"}),
        ("/tools/add_task", {"title": "a"}),
        ("/tools/generate_image", {"prompt": "a hill", "size": "32x32"}),
        ("/tools/generate_video", {"prompt": "a hill", "seconds": 1}),
    ):
        response = await client.post(path, json=body, headers={"Idempotency-Key": path})
        assert response.status_code in (200, 202), response.text
    tasks = TaskClient(client)
    await tasks.end(await tasks.begin("generate_image", prompt="a hill", size="32x32"))


async def test_deletion_leaves_nothing_of_the_principal_and_all_of_the_others(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    keys = {name: {"sha256": digest(f"{name}-key"), "scopes": ALL} for name in ("ann", "bob")}
    admin = make_client(environment | admin_settings(**keys), AS_ADMIN)
    caller = make_client(environment | admin_settings(**keys), {})
    folder = Path(environment["LOCAL_STORAGE_PATH"])
    await use_everything(caller, "bob-key")
    of_bob = {name for name in state_of(folder) if not is_of_the_ledger(name)}
    await use_everything(caller, "ann-key")
    assert len(state_of(folder)) >= 2 * len(of_bob)
    assert any(name.startswith("mcp-tasks/") for name in of_bob)
    for _ in range(2):
        response = await admin.delete("/principals/ann")
        assert (response.status_code, response.content) == (204, b"")
        # The ledger keeps what was used, under a pseudonym.
        assert {name for name in state_of(folder) if not is_of_the_ledger(name)} == of_bob
        names = [path.read_text() for path in (folder / "state/usage/principals").iterdir()]
        assert len(names) == 2
        changes = (await admin.get("/changes")).json()["changes"]
        assert changes[0]["what"] == "principal_delete"
        assert (changes[0]["who"], changes[0]["outcome"]) == ("boss", "ok")
        assert all(each["target"].startswith("deleted-") for each in changes)
        assert not any('"ann"' in name for name in names)
    caller.headers["X-Api-Key"] = "ann-key"
    assert (await caller.get("/media")).json()["media"] == []
    assert (await caller.get("/conversations")).json()["conversations"] == []
    caller.headers["X-Api-Key"] = "bob-key"
    assert len((await caller.get("/media")).json()["media"]) == 2
    media = [path for path in (folder / "media").rglob("*") if path.is_file()]
    assert len(media) == 2


async def test_deletion_for_which_there_is_no_time_says_that_there_is_more(
    environment: dict[str, str],
) -> None:
    settings = load_settings(environment | admin_settings())
    storage = Storage(settings)
    data = PrincipalData(storage.state, MediaStore(storage, settings), kept_share=1)
    changes, guard = AdminChanges(storage.state), Guard([KeyAuthenticator(settings)])
    app = FastAPI()
    app.include_router(principals_router(data, changes, guard))
    app.add_middleware(RequestMiddleware, deadline_seconds=60)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://app", headers=AS_ADMIN
    ) as admin:
        response = await admin.delete("/principals/ann")
    assert response.status_code == 202
    assert "Repeat the request" in response.json()["detail"]


@pytest.mark.parametrize(
    ("name", "status"),
    [("entra:0a1b2c3d-0000-4000-8000-000000000001", 204), ("a:b", 422), ("a%2f..%2fb", 404)],
)
async def test_name_of_a_principal_is_checked(
    make_client: MakeClient, environment: dict[str, str], name: str, status: int
) -> None:
    admin = make_client(environment | admin_settings(), AS_ADMIN)
    assert (await admin.delete(f"/principals/{name}")).status_code == status
