"""Windows replaces and deletes no file that a process has open; the folder store must not need it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

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
