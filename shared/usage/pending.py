"""Entries that wait for the next append to a log."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from shared.settings import Limits
from shared.usage.limits import Demand, Standing
from shared.usage.lines import Entry, Reserved


@dataclass(eq=False, slots=True)
class Pending:
    """Entries that are to be appended together.

    Attributes:
        entries: The entries; none where its caller only waits for those before.
        reads: Reads of the log that had begun when they came.
        limits: What a reservation has to fit into; None where nothing is checked.
        decided: Where its caller waits; None where nobody does.
        is_stored: Whether the entries are in the log.
        is_given_up: Whether nobody wants the reservation any more.
    """

    entries: tuple[Entry, ...]
    reads: int
    limits: Limits | None = None
    decided: "asyncio.Future[list[Standing]] | None" = None
    is_stored: bool = False
    is_given_up: bool = False

    @property
    def demand(self) -> Demand:
        """What a reservation asks for."""
        entry = self.entries[0]
        assert isinstance(entry, Reserved)  # noqa: S101  # Only these have limits.
        return Demand(int(entry.is_request), entry.tokens, entry.usd or 0.0)

    def tell(self, found: Sequence[Standing]) -> None:
        """Tells whoever waits that the entries are stored, and how much of each limit is used."""
        if self.decided is not None and not self.decided.done():
            self.decided.set_result([*found])

    def refuse(self, error: Exception) -> None:
        """Raises an error where the caller waits."""
        if self.decided is not None and not self.decided.done():
            self.decided.set_exception(error)
