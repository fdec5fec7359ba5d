"""The folder store leaves no file open: not for callers that are cancelled, nor for Windows.

Windows replaces and deletes no file that a process has open.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from pytest_mock import MockerFixture

from shared.storage.folder import FolderStore
from shared.storage.folder_files import FolderFiles, FolderRoot
from shared.storage.objects import ObjectInfo
from tests.conftest import MakeClient
from tests.storage.test_private_files import store_something

MOST_DESCRIPTORS = 256


def is_open(path: Path) -> bool:
    """Returns whether this process has a file open."""
    wanted = os.stat(path)
    for descriptor in range(MOST_DESCRIPTORS):
        try:
            found = os.fstat(descriptor)
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


@pytest.fixture
def refused(mocker: MockerFixture) -> list[str]:
    """What Windows would have refused."""
    found: list[str] = []

    def as_windows_does(name: str) -> None:
        real: Callable[..., None] = getattr(os, name)

        def call(path: Path, *arguments: Any, **options: Any) -> None:
            if os.path.exists(path) and is_open(path):
                found.append(f"{name} {path}")
            real(path, *arguments, **options)

        mocker.patch(f"os.{name}", call)

    for name in ("replace", "unlink"):
        as_windows_does(name)
    return found


async def test_no_file_is_replaced_or_deleted_while_it_is_open(
    make_client: MakeClient, environment: dict[str, str], refused: list[str]
) -> None:
    client = make_client(environment)
    await store_something(client)
    (medium,) = (await client.get("/media")).json()["media"]
    assert (await client.delete(f"/media/{medium['id']}")).status_code == 204
    assert refused == []


class HeldBack:
    """Keeps the thread that has opened a file waiting.

    Attributes:
        opened: The files that it has opened.
    """

    def __init__(self) -> None:
        self.opened: list[BinaryIO] = []
        self._is_open, self._goes_on = threading.Event(), threading.Event()

    def wait(self, file: BinaryIO) -> None:
        """Waits in the thread."""
        self.opened.append(file)
        self._is_open.set()
        self._goes_on.wait()

    async def cancel(self, work: Awaitable[object]) -> None:
        """Cancels a caller while the thread waits, and then lets the thread go on."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.to_thread(self._is_open.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            self._goes_on.set()
        async with asyncio.timeout(60):
            while not all(file.closed for file in self.opened):
                await asyncio.sleep(0.01)


async def test_reader_cancelled_while_its_file_opens_leaves_it_closed(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    store = FolderStore(FolderRoot(tmp_path), "state", None)
    await store.create("object", b"data")
    held_back = HeldBack()
    real = FolderFiles.open

    def slow(folder: FolderFiles, name: str) -> tuple[BinaryIO, ObjectInfo]:
        file, info = real(folder, name)
        held_back.wait(file)
        return file, info

    mocker.patch.object(FolderFiles, "open", slow)

    async def read() -> None:
        async with store.open("object"):
            pass

    await held_back.cancel(read())
    assert len(held_back.opened) == 1


async def test_writer_cancelled_while_its_draft_opens_leaves_none(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    store = FolderStore(FolderRoot(tmp_path), "state", None)
    held_back = HeldBack()
    real = FolderFiles.upload

    @contextmanager
    def slow(folder: FolderFiles) -> Iterator[tuple[BinaryIO, Path]]:
        with real(folder) as (file, path):
            held_back.wait(file)
            yield file, path

    mocker.patch.object(FolderFiles, "upload", slow)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"data"

    await held_back.cancel(store.upload("object", chunks()))
    assert len(held_back.opened) == 1
    assert not await asyncio.to_thread(
        lambda: [each for each in tmp_path.rglob("*") if each.is_file()]
    )
