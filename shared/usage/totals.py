"""What a principal has used today, as far as the lines of the log that were read say."""

from collections import deque
from collections.abc import Iterable

from shared.usage.lines import Batch, Entry, Released, Reserved, Sums

MINUTE = 60.0
WINDOW_SECONDS = 600.0
"""How far back lines matter beside what they add up to: longer than any slot of ``parallel`` lasts."""

SKEW_SECONDS = 60.0
"""How far apart the clocks of instances may be whose lines stand in one log."""


class Totals:
    """The sums of a day, the requests of the last minute, and the calls that are under way.

    Attributes:
        sums: What all lines add up to.
    """

    def __init__(self) -> None:
        self.sums = Sums()
        self._requests: deque[float] = deque()
        self._slots: dict[str, float] = {}

    def read(self, batch: Batch) -> None:
        """Takes in a batch that was read from the log."""
        self._note(batch.entries)
        self.sums = batch.sums

    def add(self, entries: Iterable[Entry], sums: Sums) -> None:
        """Takes in entries that were appended to the log, and what it adds up to with them."""
        self._note(entries)
        self.sums = sums

    def continue_from(self, previous: "Totals") -> None:
        """Takes over what goes on from the day before: recent requests, and calls under way."""
        self._requests.extend(previous._requests)
        self._slots |= previous._slots

    def requests_since(self, moment: float) -> list[float]:
        """Returns when the requests were made that came after a moment, oldest first."""
        while self._requests and self._requests[0] <= moment:
            self._requests.popleft()
        return list(self._requests)

    def slots(self, now: float) -> list[float]:
        """Returns until when at most the calls last that are under way."""
        for call in [call for call, until in self._slots.items() if until <= now]:
            del self._slots[call]
        return sorted(self._slots.values())

    def _note(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, Reserved):
                if entry.is_request:
                    self._forget(entry.at - SKEW_SECONDS)
                    self._requests.append(entry.at)
                    self._slots[entry.call] = entry.until
            elif isinstance(entry, Released):
                self._slots.pop(entry.call, None)
            elif entry.is_request and not entry.was_reached:
                self._slots.pop(entry.call, None)
                # What never reached a provider is no request.
                if entry.reserved_at in self._requests:
                    self._requests.remove(entry.reserved_at)

    def _forget(self, now: float) -> None:
        """Drops what is over: where no limit applies nobody asks, and a day has millions of requests."""
        while self._requests and self._requests[0] <= now - MINUTE:
            self._requests.popleft()
        # They end about in the order in which they began.
        while self._slots and self._slots[call := next(iter(self._slots))] <= now:
            del self._slots[call]
