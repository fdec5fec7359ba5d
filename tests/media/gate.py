"""A proxy in front of Azurite that can stop after any write: the place to kill an app at."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.storage.proxy import HeldAnswer, StorageRequest, proxy_before


class Gate:
    """Counts writes, and holds back the answer to one of them.

    Args:
        folder: What stands in the paths of the writes that count.

    Attributes:
        writes: How many there have been.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._stop_at = 0
        self._held = HeldAnswer()
        self.writes = 0

    @property
    def reached(self) -> threading.Event:
        """Set when the write to stop at has been done and its answer is held back."""
        return self._held.done

    def stop_after(self, number: int) -> None:
        """Makes it stop after so many writes from now on."""
        self._held = HeldAnswer()
        self._stop_at = self.writes + number

    def release(self) -> None:
        """Lets everything pass."""
        self._stop_at = 0
        self._held.may_say.set()

    def decide(self, request: StorageRequest) -> HeldAnswer | None:
        """Says whether the answer to a request is held back."""
        if not request.is_write or self._folder not in request.target:
            return None
        self.writes += 1
        return self._held if self.writes == self._stop_at else None


@contextmanager
def gate_before(connection_string: str, folder: str = "") -> Iterator[tuple[Gate, str]]:
    """Yields a gate, which counts what is written to a folder, and the connection string through it."""
    gate = Gate(folder)
    with proxy_before(connection_string) as (proxy, through_proxy):
        proxy.decide = gate.decide
        try:
            yield gate, through_proxy
        finally:
            gate.release()
