from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from shared.storage import FolderRoot, FolderStore, ObjectStore
from shared.storage.blob import BlobAccount, BlobStore


@pytest.fixture(params=["folder", pytest.param("azurite", marks=pytest.mark.any_python)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    """An empty store of each kind."""
    if request.param == "folder":
        yield FolderStore(FolderRoot(tmp_path / "storage"), "state", None)
        return
    account = BlobAccount.from_connection_string(request.getfixturevalue("azurite"))
    yield BlobStore(account, f"state-{uuid4().hex}")
    await account.aclose()
