"""What servers list, kept for a while in the memory of this instance."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from shared.connections.client.operations import Listing
from shared.connections.errors import ConnectionTimeout
from shared.deadline import Deadline, create_detached_task
from shared.errors import DeadlineExceeded

Kind = Literal["tools", "resources", "templates", "prompts"]
Key = tuple[str, Kind]

FRESH_SECONDS = 60.0
"""Seconds after which a server is asked again."""

KEPT_SECONDS = 600.0
"""Seconds for which an older list is used where its server is too slow to give a new one."""

FETCH_SECONDS = 60.0
"""Seconds that a server has for its list, whether or not anybody still waits for it."""

PAUSE_SECONDS = 30.0
"""Seconds for which nobody waits for a server that has not answered in `FETCH_SECONDS`."""

MAX_LISTS = 600
MAX_SLOW = 1000


@dataclass(slots=True)
class _Known:
    listing: Listing
    fetched_at: float

    @property
    def age(self) -> float:
        return monotonic() - self.fetched_at


class ListingCache:
    """Fetches lists once for all who ask at the same time, and keeps them.

    A caller waits for a server no longer than its share. The server has more time: what it lists then is
    there for the next caller.

    Args:
        max_bytes: Maximum bytes of all lists, as JSON; as objects they take several times that.
        share: Seconds that callers wait for one server.
    """

    def __init__(self, max_bytes: int, share: float) -> None:
        self._max_bytes = max_bytes
        self._share = share
        self._known: dict[Key, _Known] = {}
        self._running: dict[Key, tuple[float, asyncio.Task[Listing]]] = {}
        self._slow_until: dict[Key, float] = {}

    async def get(self, key: Key, fetch: Callable[[], Coroutine[Any, Any, Listing]]) -> Listing:
        """Returns a list, at most a minute old where its server answers in time.

        Args:
            key: The connection, and what to list.
            fetch: Asks the server.

        Raises:
            ConnectionTimeout: The server is too slow.
            GatewayError: It failed or refused.
        """
        known = self._known.get(key)
        if known is not None and known.age < FRESH_SECONDS:
            return known.listing
        if key not in self._running:
            if self._slow_until.get(key, 0.0) > monotonic():
                return self._stale(key)
            task = create_detached_task(self._fetch(key, fetch))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._running[key] = (monotonic() + self._share, task)
        until, task = self._running[key]
        await asyncio.wait({task}, timeout=max(0.0, until - monotonic()))
        if task.done() and not task.cancelled():
            return task.result()
        return self._stale(key)

    def forget(self, connection: str) -> None:
        """Drops the lists of a connection."""
        for entries in (self._known, self._slow_until):
            for key in [key for key in entries if key[0] == connection]:
                del entries[key]
        for key, (_, task) in list(self._running.items()):
            if key[0] == connection:
                task.cancel()

    async def aclose(self) -> None:
        """Ends the fetches that run."""
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, key: Key, fetch: Callable[[], Coroutine[Any, Any, Listing]]) -> Listing:
        try:
            async with Deadline.after(FETCH_SECONDS).scope():
                listing = await fetch()
        except DeadlineExceeded:
            self._slow_until[key] = monotonic() + PAUSE_SECONDS
            if len(self._slow_until) > MAX_SLOW:
                del self._slow_until[next(iter(self._slow_until))]
            raise
        finally:
            del self._running[key]
        self._slow_until.pop(key, None)
        self._keep(key, listing)
        return listing

    def _stale(self, key: Key) -> Listing:
        """Returns the list that a slow server gave before."""
        known = self._known.get(key)
        if known is None:
            raise ConnectionTimeout("The MCP server did not answer in time.")
        return known.listing

    def _keep(self, key: Key, listing: Listing) -> None:
        """Keeps a list, in place of the oldest ones where they take too much."""
        self._known.pop(key, None)
        size = listing.size + sum(known.listing.size for known in self._known.values())
        while self._known and (len(self._known) >= MAX_LISTS or size > self._max_bytes):
            oldest = self._known.pop(next(iter(self._known)))
            size -= oldest.listing.size
        known = self._known[key] = _Known(listing, monotonic())
        fetched_at = known.fetched_at

        def expire() -> None:
            # The timer does not hold the list itself, which may have made room long before.
            current = self._known.get(key)
            if current is not None and current.fetched_at == fetched_at:
                del self._known[key]

        asyncio.get_running_loop().call_later(KEPT_SECONDS, expire)
