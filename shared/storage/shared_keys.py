"""Random keys that instances of the app share: each is made once, by whoever needs it first."""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from shared.storage.objects import ObjectExists, ObjectMissing, ObjectStore, unreadable
from shared.storage.private_files import make_private_folder, private_opener

KEY_BYTES = 32

LoadKey = Callable[[], Awaitable[bytes]]


class SharedKey:
    """A key in the state container, which all instances share.

    Args:
        state: The state container.
        name: The object that holds the key.
    """

    def __init__(self, state: ObjectStore, name: str) -> None:
        self._state = state
        self._name = name
        self._key: bytes | None = None

    async def load(self) -> bytes:
        """Returns the key, which is read once; 32 bytes.

        Raises:
            StorageUnavailable: It cannot be read.
        """
        if self._key is None:
            self._key = await self._read() or await self._create()
        return self._key

    async def _read(self) -> bytes | None:
        with suppress(ObjectMissing):
            return (await self._state.read(self._name))[0]
        return None

    async def _create(self) -> bytes:
        # Of several instances that start together the first one stores its key, and all read that.
        with suppress(ObjectExists):
            await self._state.create(self._name, secrets.token_bytes(KEY_BYTES))
        key = await self._read()
        if key is None:
            raise unreadable()
        return key


def key_of_file(path: Path) -> LoadKey:
    """Returns a source of the key in a file, which all processes of a machine share."""
    return lambda: asyncio.to_thread(_key_of_file, path)


def _key_of_file(path: Path) -> bytes:
    make_private_folder(path.parent)
    draft = path.with_name(f".{secrets.token_hex(8)}")
    try:
        with open(draft, "xb", opener=private_opener) as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        # Of several processes that start together the first names its key, and all read that.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path.read_bytes()
