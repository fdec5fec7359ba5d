"""What an instance keeps in memory of a day: not each of its calls."""

from shared.usage.lines import Batch, Sums
from shared.usage.totals import MINUTE, SKEW_SECONDS, Totals
from tests.usage.support import NOON, reserved

SLOT_SECONDS = 300.0
EVER = float("-inf")


def after_a_day_of_calls() -> tuple[Totals, float]:
    """Totals of one call each second, and when the last one was made."""
    totals, began = Totals(), NOON.timestamp()
    for second in range(24 * 3600):
        at = began + second
        entry = reserved().model_copy(
            update={"at": at, "call": f"call-{second}", "until": at + SLOT_SECONDS}
        )
        totals.read(Batch(n=1, sums=Sums(), entries=(entry,)))
    return totals, at


def test_calls_that_are_long_over_are_forgotten_though_no_limit_asks_for_them() -> None:
    totals, last = after_a_day_of_calls()
    kept = totals.requests_since(EVER)
    assert len(kept) == MINUTE + SKEW_SECONDS
    assert kept[-1] == last
    assert len(totals.slots(EVER)) == SLOT_SECONDS + SKEW_SECONDS


def test_calls_of_the_last_minute_and_those_under_way_are_known() -> None:
    totals, last = after_a_day_of_calls()
    assert len(totals.requests_since(last - MINUTE)) == MINUTE
    assert len(totals.slots(last)) == SLOT_SECONDS
