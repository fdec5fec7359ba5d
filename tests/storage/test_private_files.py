"""A folder of stored things is for the app's own user only."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.conftest import MakeClient


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def open_to_others(root: Path) -> dict[str, str]:
    """Modes of all that is not 0700 for folders and 0600 for files."""
    found = {}
    for path in [root, *root.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode != (0o700 if path.is_dir() else 0o600):
            found[str(path)] = oct(mode)
    return found


def open_up(root: Path) -> None:
    """Gives everybody the right to read."""
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


async def store_something(client: httpx2.AsyncClient) -> str:
    """Writes in every way: whole objects, logs, replaced records, keys; returns a link."""
    keyed = {"Idempotency-Key": "one"}
    drawn = await client.post("/tools/generate_image", json={"prompt": "x"}, headers=keyed)
    chat = await client.post("/chat", json={"message": "hi"})
    task = await client.post("/tools/add_task", json={"title": "x"})
    again = await client.post("/tools/add_task", json={"title": "y"})
    assert {each.status_code for each in (drawn, chat, task, again)} == {200}
    return str(drawn.json()["media"][0]["url"])


@pytest.mark.usefixtures("_umask")
async def test_folders_and_files_are_private_whatever_the_umask(
    make_client: MakeClient, environment: dict[str, str], tmp_path: Path
) -> None:
    root = tmp_path / "new" / "storage"
    client = make_client(environment | {"LOCAL_STORAGE_PATH": str(root)})
    await store_something(client)
    assert len([path for path in root.rglob("*") if path.is_file()]) > 5
    assert open_to_others(root) == {}
    assert open_to_others(tmp_path / "new") == {}


async def test_what_an_earlier_version_wrote_becomes_private(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    root = Path(environment["LOCAL_STORAGE_PATH"])
    await store_something(make_client(environment))
    key = root / "state/connections/encryption.key"
    key.parent.mkdir(exist_ok=True)
    key.write_bytes(b"key")
    not_ours = root / "notes/mine.txt"
    not_ours.parent.mkdir()
    not_ours.touch()
    open_up(root)
    client = make_client(environment)
    assert (await client.get("/media")).json()["media"]
    assert open_to_others(root).keys() == {str(not_ours), str(not_ours.parent)}
    assert (await client.get(await store_something(client))).status_code == 200
