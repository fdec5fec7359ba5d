"""Deletes what is stored of a principal, for people who want their data removed."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from shared.deadline import remaining_seconds
from shared.errors import NotFound
from shared.parallel import gather_limited
from shared.storage import MediaStore, ObjectStore, owner_in, owner_key

FOLDERS = ("connections", "jobs", "conversations", "conversation-parts", "idempotency", "mcp-tasks")
"""Where the state container has what belongs to a principal, in folders of its hash."""
KEPT_SHARE = 0.25
"""Share of its budget that a call keeps, so that it can still answer."""

_PAGE = 100
_PARALLEL_DELETIONS = 16

_Delete = Callable[[str], Coroutine[Any, Any, object]]

Forget = Callable[[str], Awaitable[None]]
"""Replaces the name of a principal, where it has to be kept, by a pseudonym."""


class PrincipalData:
    """What is stored of principals.

    What is written while it is deleted, by a call that runs or by a key that is still valid, may stay:
    the next deletion finds it.

    Args:
        state: The container of everything but media.
        media: Media.
        forget: What else has to forget the principal.
        kept_share: Share of its budget that a call keeps, so that it can still answer.
    """

    def __init__(
        self,
        state: ObjectStore,
        media: MediaStore,
        forget: Sequence[Forget] = (),
        kept_share: float = KEPT_SHARE,
    ) -> None:
        self._state = state
        self._media = media
        self._forget = tuple(forget)
        self._kept_share = kept_share

    async def delete(self, principal: str) -> bool:
        """Deletes conversations, media, tasks, connections, jobs, kept results and work items.

        Args:
            principal: Whose.

        Returns:
            Whether nothing is left; else there was no time for more, and the next call goes on.
        """
        owner, kept = owner_key(principal), min(60.0, remaining_seconds() * self._kept_share)
        folders: list[tuple[str, _Delete]] = [
            (f"{folder}/{owner}/", self._state.delete) for folder in FOLDERS
        ]
        folders.append((f"media/{owner}/", self._media_deletion(principal)))
        for prefix, delete in folders:
            if not await self._delete_all(prefix, delete, kept):
                return False
        await self._state.delete(f"tasks/{owner}.json")
        if not await self._delete_all(
            "work/", self._state.delete, kept, lambda n: owner_in(n) == owner
        ):
            return False
        for forget in self._forget:
            await forget(principal)
        return True

    def _media_deletion(self, principal: str) -> _Delete:
        async def delete(name: str) -> None:
            media_id = name.rpartition("/")[2].removesuffix(".json")
            try:
                await self._media.delete(principal, media_id)
            except NotFound:
                return

        return delete

    async def _delete_all(
        self,
        prefix: str,
        delete: _Delete,
        kept_seconds: float,
        is_meant: Callable[[str], bool] = lambda name: True,
    ) -> bool:
        cursor: str | None = None
        while remaining_seconds() > kept_seconds:
            page = await self._state.list(prefix, _PAGE, cursor)
            names = [each.name for each in page.objects if is_meant(each.name)]
            await gather_limited(_PARALLEL_DELETIONS, (delete(name) for name in names))
            if page.cursor is None:
                return True
            cursor = page.cursor
        return False
