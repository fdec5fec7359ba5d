"""Measures several servers in turns within one run, because the machine is never quiet."""

import asyncio
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

Call = Callable[[], Awaitable[float]]
"""Makes one request, and returns the milliseconds to the first byte of its answer."""
WARM_UP = 10


class CallFailed(Exception):
    """Raised by a call that was not answered as it has to be; the message says how."""


@dataclass
class Measured:
    """What was measured of one server.

    Attributes:
        firsts: Milliseconds to the first byte of each answer.
        totals: Milliseconds to the last one.
        medians: The median of the totals of each round.
        rates: Requests per second of each round.
        failures: How often calls failed in which way; they are in none of the others.
    """

    firsts: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def compared(self, base: "Measured") -> tuple[float, float, float]:
        """Returns how the medians and the rates relate to another's, and what is added to its medians.

        Each is the median over the rounds, because a round is short and its turns follow each other.
        """
        pairs = list(zip(self.medians, base.medians, strict=True))
        rates = zip(self.rates, base.rates, strict=True)
        return (
            statistics.median(own / other for own, other in pairs),
            statistics.median(own / other for own, other in rates),
            statistics.median(own - other for own, other in pairs),
        )


async def take_turns(
    calls: Mapping[str, Call], at_once: int, requests: int, rounds: int
) -> dict[str, Measured]:
    """Sends to each server in every round, the one that was last before first the next time.

    Args:
        calls: A call of each server.
        at_once: How many requests are under way at a time.
        requests: How many each server gets in a round.
        rounds: How many rounds there are.
    """
    measured = {name: Measured() for name in calls}
    for call in calls.values():
        await _send(call, at_once, max(WARM_UP, at_once), Measured())
    order = list(calls)
    for _ in range(rounds):
        for name in order:
            one, started, before = measured[name], perf_counter(), len(measured[name].totals)
            await _send(calls[name], at_once, requests, one)
            answered = one.totals[before:]
            one.rates.append(len(answered) / (perf_counter() - started))
            one.medians.append(statistics.median(answered or [float("inf")]))
        order.reverse()
    return measured


async def _send(call: Call, at_once: int, requests: int, into: Measured) -> None:
    remaining = iter(range(requests))

    async def send() -> None:
        for _ in remaining:
            started = perf_counter()
            try:
                first = await call()
            except CallFailed as failure:
                into.failures[str(failure)] += 1
                continue
            into.firsts.append(first)
            into.totals.append((perf_counter() - started) * 1000)

    await asyncio.gather(*(send() for _ in range(at_once)))


def print_table(title: str, measured: Mapping[str, Measured]) -> None:
    """Prints a row for each server; ratios are to the first one."""
    print(f"\n{title}")
    print(
        f"{'':38} {'p50 ms':>8} {'p99 ms':>8} {'first':>8} {'/s':>6} "
        f"{'p50 x':>6} {'/s x':>6} {'added':>8}"
    )
    base = next(iter(measured.values()))
    for name, one in measured.items():
        p99 = statistics.quantiles(one.totals, n=100, method="inclusive")[98]
        slower, rate, added = one.compared(base)
        print(
            f"{name:38} {statistics.median(one.totals):8.2f} {p99:8.2f} "
            f"{statistics.median(one.firsts):8.2f} {statistics.median(one.rates):6.0f} "
            f"{slower:6.2f} {rate:6.2f} {added:8.2f}"
            f"{f'  FAILED {dict(one.failures)}' if one.failures else ''}",
            flush=True,
        )
