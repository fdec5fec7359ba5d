"""JSON documents that several writers change: each change is made to what is stored, or not at all."""

import asyncio
import random
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from pydantic import BaseModel

from shared.errors import Conflict
from shared.storage.objects import ObjectChanged, ObjectConflict, ObjectMissing
from shared.storage.service import Storage

DocumentT = TypeVar("DocumentT", bound=BaseModel)
ResultT = TypeVar("ResultT")

MAX_ATTEMPTS = 30
FIRST_BACKOFF_SECONDS = 0.01
LONGEST_BACKOFF_SECONDS = 0.5


class Documents(Generic[DocumentT]):
    """Documents of one kind in the container of state.

    Args:
        storage: Where they are.
        model: Their model; without arguments it is the document that nobody has written yet.
    """

    def __init__(self, storage: Storage, model: type[DocumentT]) -> None:
        self._storage = storage
        self._model = model
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def read(self, name: str) -> DocumentT:
        """Returns a document, the empty one where there is none."""
        return (await self._load(name))[0]

    async def change(self, name: str, make: Callable[[DocumentT], ResultT]) -> ResultT:
        """Changes a document, again from what is then stored where somebody else was faster.

        Args:
            name: Of the document.
            make: Changes the document that it is given, and returns what `change` returns. It may be
                called several times, and may raise.

        Raises:
            Conflict: Others were faster every time.
        """
        # Only one writer of each instance competes with those of the other instances.
        async with self._locks.setdefault(name, asyncio.Lock()):
            return await self._compete(name, make)

    async def _compete(self, name: str, make: Callable[[DocumentT], ResultT]) -> ResultT:
        for attempt in range(MAX_ATTEMPTS):
            document, etag = await self._load(name)
            result = make(document)
            data = document.model_dump_json().encode()
            try:
                if etag is None:
                    await self._storage.state.create(name, data)
                else:
                    await self._storage.state.replace(name, data, etag)
            except ObjectConflict:
                # Jitter, because whoever lost together would otherwise come back together.
                longest = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**attempt)
                await asyncio.sleep(random.uniform(0, longest))  # noqa: S311  # Not secret.
            else:
                return result
        raise Conflict("Others change the same thing all the time. Try again.", 1)

    async def _load(self, name: str) -> tuple[DocumentT, str | None]:
        try:
            data, info = await self._storage.state.read(name)
        except ObjectMissing:
            return self._model(), None
        except ObjectChanged:
            return await self._load(name)
        return self._model.model_validate_json(data), info.etag
