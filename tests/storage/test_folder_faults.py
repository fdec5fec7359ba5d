"""A folder store whose folder is taken away, replaced or made unreadable while the app runs."""

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.errors import StorageUnavailable
from shared.settings import load_settings
from shared.storage import FolderRoot, ObjectMissing, ObjectStore, Storage
from tests.conftest import MakeClient

NAME = "things/a.json"


async def open_and_read(store: ObjectStore) -> bytes:
    async with store.open(NAME) as stream:
        return b"".join([chunk async for chunk in stream.chunks])


OPERATIONS: dict[str, Callable[[ObjectStore], Awaitable[object]]] = {
    "create": lambda store: store.create("things/b.json", b"b"),
    "replace": lambda store: store.replace(NAME, b"b", "an etag"),
    "append": lambda store: store.append("things/log", b"b", 0),
    "read": lambda store: store.read(NAME),
    "describe": lambda store: store.describe(NAME),
    "open": open_and_read,
    "list": lambda store: store.list("things/"),
    "delete": lambda store: store.delete(NAME),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def storage(folder: Path) -> Storage:
    return Storage(load_settings({"LOCAL_STORAGE_PATH": str(folder)}))


@pytest.fixture
async def state(storage: Storage) -> ObjectStore:
    """A store that holds an object."""
    await storage.state.create(NAME, b"a")
    return storage.state


async def refusal(state: ObjectStore, operation: str) -> str:
    with pytest.raises(StorageUnavailable) as refused:
        await OPERATIONS[operation](state)
    return refused.value.detail


@contextmanager
def moved(folder: Path) -> Iterator[None]:
    """A folder that is elsewhere for a time, with nothing or a file in its place."""
    elsewhere = folder.with_name("moved")
    folder.rename(elsewhere)
    yield
    assert not folder.is_dir()
    folder.unlink(missing_ok=True)
    elsewhere.rename(folder)


def put_file(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_folder_that_became_a_file_is_not_taken_for_an_empty_one(
    state: ObjectStore, folder: Path, operation: str
) -> None:
    with moved(folder):
        put_file(folder)
        assert await refusal(state, operation) == (
            "The folder of LOCAL_STORAGE_PATH cannot be used: Not a directory. "
            "A file is in the place of a folder. Move it away, or name another folder."
        )
    assert (await state.read(NAME))[0] == b"a"


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_folder_that_is_gone_is_not_taken_for_an_empty_one(
    state: ObjectStore, folder: Path, operation: str
) -> None:
    with moved(folder):
        assert await refusal(state, operation) == (
            "The folder of LOCAL_STORAGE_PATH cannot be used: No such file or directory. "
            "Put it back, or start the app again to begin with an empty one."
        )
    assert (await state.read(NAME))[0] == b"a"


async def test_folder_that_is_gone_is_missed_by_containers_that_were_not_used(
    storage: Storage, folder: Path
) -> None:
    await storage.state.create(NAME, b"a")
    with moved(folder):
        assert "No such file" in await refusal(storage.media, "create")


async def test_folder_that_was_never_there_is_empty(folder: Path) -> None:
    state = Storage(load_settings({"LOCAL_STORAGE_PATH": str(folder)})).state
    assert (await state.list("")).objects == ()
    with pytest.raises(ObjectMissing):
        await state.read(NAME)
    await state.create(NAME, b"a")


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """A folder that this process may not read, though it be root's."""
    mode, user = folder.stat().st_mode, os.geteuid()
    folder.chmod(0)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(mode)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("below", ["", "state", "state/things"])
async def test_folder_that_may_not_be_read_is_not_taken_for_an_empty_one(
    state: ObjectStore, folder: Path, operation: str, below: str
) -> None:
    with closed(folder / below):
        assert await refusal(state, operation) == (
            "The folder of LOCAL_STORAGE_PATH cannot be used: Permission denied. "
            "Make room in it and give this app the right to read and write there."
        )
    assert len((await state.list("")).objects) == 1


@pytest.mark.parametrize("path", ["/conversations", "/media", "/mcp/clients"])
async def test_lists_say_that_the_folder_is_none(
    make_client: MakeClient, environment: dict[str, str], path: str
) -> None:
    folder = Path(environment["LOCAL_STORAGE_PATH"])
    client = make_client(environment)
    assert (await client.get(path)).status_code == 200
    put_file(folder)
    response = await client.get(path)
    assert (response.status_code, response.json()["code"]) == (503, "storage_unavailable")
    assert "LOCAL_STORAGE_PATH" in response.json()["detail"]


def test_folder_that_another_thread_makes_meanwhile_is_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = FolderRoot(tmp_path / "storage")
    look = Path.stat

    def look_too_early(path: Path) -> os.stat_result:
        try:
            return look(path)
        except FileNotFoundError:
            monkeypatch.undo()
            root.make(path / "state")
            raise

    monkeypatch.setattr(Path, "stat", look_too_early)
    root.check()
    assert (tmp_path / "storage" / "state").is_dir()
