"""How long calls took at the start and at the end of a soak, and what went wrong."""

from collections import Counter
from collections.abc import Sequence
from statistics import quantiles

from tests.soak.load import Timed


def print_times(times: Sequence[Timed], part: float, minutes: float) -> None:
    """Prints the percentiles of the first and the last minutes, of all calls and of each kind.

    Args:
        times: The calls.
        part: How many minutes count as the first and as the last ones.
        minutes: How long the soak was.
    """
    print(f"\nmilliseconds in the first and last {part:g} minutes, the number of calls of all")
    print(f"{'call':28} {'calls':>6} {'p50':>8} {'p50':>8} {'p99':>9} {'p99':>9}")
    kinds = sorted({call.kind for call in times})
    ours = [kind for kind in kinds if not kind.startswith("(")]
    rows = {"all": set(ours)} | {kind: {kind} for kind in kinds}
    for name, chosen in rows.items():
        of_it = [call for call in times if call.kind in chosen]
        first = _percentiles([call.milliseconds for call in of_it if call.minute < part])
        last = _percentiles([call.milliseconds for call in of_it if call.minute > minutes - part])
        print(
            f"{name:28} {len(of_it):6} {first[0]:8.1f} {last[0]:8.1f} {first[1]:9.1f} {last[1]:9.1f}"
        )


def _percentiles(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return (0, 0)
    cuts = quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


def print_errors(errors: Counter[str]) -> int:
    """Prints what went wrong, by kind, and returns how often."""
    print(f"\ncalls that went wrong: {errors.total()}")
    for kind, times in errors.most_common():
        print(f"  {times:5} {kind}")
    return errors.total()
