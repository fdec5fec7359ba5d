from pathlib import Path

import pytest

from shared.errors import NotConfigured
from shared.settings import load_settings
from shared.storage import Storage


async def test_containers_are_opened_by_their_first_use(tmp_path: Path) -> None:
    folder = tmp_path / "storage"
    storage = Storage(load_settings({"LOCAL_STORAGE_PATH": str(folder)}))
    state, media = storage.state, storage.media
    assert not folder.exists()
    await state.create("a.json", b"state")
    await media.create("a.png", b"media")
    assert (await state.read("a.json"))[0] == b"state"
    assert (await media.read("a.png"))[0] == b"media"
    await storage.aclose()


async def test_container_is_opened_again_after_it_was_closed(azurite: str) -> None:
    storage = Storage(load_settings({"AZURE_STORAGE_CONNECTION_STRING": azurite}))
    state = storage.state
    assert (await state.list("never-stored/")).objects == ()
    await storage.aclose()
    assert (await state.list("never-stored/")).objects == ()
    await storage.aclose()


async def test_first_use_without_storage_says_what_to_set() -> None:
    storage = Storage(load_settings({"WEBSITE_INSTANCE_ID": "1"}))
    for container in (storage.state, storage.media):
        with pytest.raises(NotConfigured, match="AZURE_STORAGE_ACCOUNT_URL"):
            await container.read("a.json")
        with pytest.raises(NotConfigured, match="AZURE_STORAGE_ACCOUNT_URL"):
            async with container.open("a.json"):
                pass
