"""Claims of calls: each is made once for its idempotency key, and can go on without its caller."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.background import Background
from shared.context import CallContext
from shared.storage import Claim, IdempotencyStore, MediaStore
from shared.tools.toolset import JsonObject


class Claims:
    """Claims calls by their idempotency keys, and completes those that go on without their caller.

    Args:
        idempotency: Remembers results by key.
        media: Gives fresh links to results that were remembered.

    Attributes:
        background: Completes calls whose callers may disconnect; each opens a scope of its own.
    """

    def __init__(self, idempotency: IdempotencyStore, media: MediaStore) -> None:
        self._idempotency = idempotency
        self._media = media
        self.background = Background()

    @asynccontextmanager
    async def claim(self, request: bytes, context: CallContext) -> AsyncIterator[Claim]:
        """Claims a call for the block, which sets its result; without a key nothing is remembered.

        Args:
            request: The request, byte for byte the same in a repeat.
            context: The principal and the key.

        Yields:
            The claim; where it ``is_done`` an earlier call with the key returned its result, of which
            `refresh` makes that of this call.

        Raises:
            Conflict: The key is in use, or was used for something else.
            StorageUnavailable: The key cannot be looked up.
        """
        key, principal = context.idempotency_key, context.principal.name
        if key is None:
            yield Claim(context.operation)
            return
        async with self._idempotency.claim(principal, key, request) as claim:
            yield claim

    async def refresh(self, result: JsonObject, within: Any, context: CallContext) -> JsonObject:
        """Returns a remembered result with fresh links to its media.

        Args:
            result: The result.
            within: The parts of it whose media get fresh links.
            context: Of the call.
        """
        fresh: JsonObject = await self._media.refresh(context.principal.name, result, within)
        return fresh

    async def aclose(self) -> None:
        """Waits for the calls that still run; each has its deadline."""
        await self.background.aclose()
