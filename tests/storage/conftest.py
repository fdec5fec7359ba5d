from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from shared.storage import FolderRoot, FolderStore, LinkSigner, ObjectStore
from shared.storage.blob import BlobAccount, BlobStore
from shared.storage.shared_keys import key_of_file
from tests.storage.azurite import TestCredential

IDENTITY = pytest.param("identity", marks=pytest.mark.any_python)


@pytest.fixture(params=["folder", "connection string", IDENTITY])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    """An empty store of each kind; every test that uses it runs against all."""
    if request.param == "folder":
        signer = LinkSigner(key_of_file(tmp_path / "link.key"), "http://localhost:7071")
        yield FolderStore(FolderRoot(tmp_path / "storage"), "objects", signer)
        return
    if request.param == "identity":
        server = request.getfixturevalue("azurite_with_oauth")
        account = BlobAccount.from_identity(
            server.url, TestCredential(), connection_verify=str(server.certificate)
        )
    else:
        account = BlobAccount.from_connection_string(request.getfixturevalue("azurite"))
    yield BlobStore(account, f"objects-{uuid4().hex}")
    await account.aclose()
