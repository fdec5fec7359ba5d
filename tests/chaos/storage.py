"""Three real workers on one Azurite that refuses requests at random, killed while callers use them.

    .venv-deployed/bin/python -m tests.chaos.storage [--seconds 300] [--rate 0.05] [--seed 1]

Callers chat, draw, keep tasks and order videos, with and without idempotency keys. In the end everything
that was acknowledged has to be there, once, and nothing may be paid for twice, be without a record, or
stay locked. Prints what it counted; the exit code is 1 where a count is not zero, or where too many
calls failed whose worker was not killed. Runs of over ten minutes measure Azurite: its garbage
collection begins then and blocks all requests for minutes.
"""

import argparse
import asyncio
import random
import sys
from collections import Counter
from contextlib import ExitStack
from time import monotonic

import httpx2

from local.stand_in import VIDEO_MODEL, create_stand_in
from tests.chaos.callers import CALLERS, Caller, Ledger
from tests.chaos.checks import check
from tests.chaos.workers import Fleet
from tests.conftest import AUTH, KEY, StandIn, ThreadServer
from tests.ports import free_port
from tests.storage import azurite as azurite_process
from tests.storage.azurite import blob_settings
from tests.storage.proxy import Fault, Refusal, StorageProxy, StorageRequest, proxy_before

PAUSE_SECONDS = (3.0, 6.0)
"""Between two kills."""

CHECKS = (
    "lost messages",
    "lost tasks",
    "lost objects",
    "lost media",
    "doubled",
    "orphaned",
    "paid twice",
    "locked conversations",
)
MAX_FAILED_SHARE = 0.005
LAST_CALLS_SECONDS = 150.0
"""How long callers may take for what they have begun when the time is over."""


class Decider:
    """Refuses requests at random.

    Args:
        rate: The share of them.
        chance: Where chance comes from.
    """

    def __init__(self, rate: float, chance: random.Random) -> None:
        self._rate = rate
        self._chance = chance

    def __call__(self, request: StorageRequest) -> Fault | None:
        """Returns what happens to a request."""
        if self._chance.random() >= self._rate:
            return None
        return Refusal(503, "ServerBusy", self._chance.choice((None, 1)))


async def run(options: argparse.Namespace, fleet: Fleet, proxy: StorageProxy) -> Ledger:
    """Has callers call while workers are killed, and returns what callers were told."""
    chance = random.Random(options.seed)
    await fleet.start()
    proxy.decide = Decider(options.rate, random.Random(options.seed + 1))
    ledger = Ledger()
    ends_at = monotonic() + options.seconds
    async with httpx2.AsyncClient(timeout=90, headers=AUTH) as http:
        callers = [
            asyncio.create_task(
                Caller(
                    number, fleet, http, ledger, random.Random(options.seed * 100 + number)
                ).call_until(ends_at)
            )
            for number in range(CALLERS)
        ]
        while monotonic() < ends_at and not all(task.done() for task in callers):
            pause = min(chance.uniform(*PAUSE_SECONDS), ends_at - monotonic())
            await asyncio.sleep(max(0, pause))
            await fleet.kill(chance)
        done, late = await asyncio.wait(callers, timeout=LAST_CALLS_SECONDS)
        for task in late:
            task.cancel()
        ledger.counts["callers that never ended"] = len(late)
        for task in done:
            task.result()
    proxy.decide = lambda request: None
    return ledger


def report(options: argparse.Namespace, fleet: Fleet, ledger: Ledger, found: Counter[str]) -> bool:
    """Prints the counts and says whether they are as they have to be."""
    attempts, failed = ledger.counts["attempts"], sum(ledger.failures.values())
    share = failed / max(1, attempts)
    print(f"{options.seconds} s at {options.rate:.0%}, {fleet.kills} kills, seed {options.seed}")
    print(f"acknowledged: {dict(ledger.acknowledged())}")
    print(f"calls whose worker was killed: {ledger.counts['cut']}")
    for name in CHECKS:
        print(f"{name}: {found[name]}")
    print(f"adopted: {found['adopted']}")
    print(f"failed: {failed} of {attempts} calls, {share:.2%}: {dict(ledger.failures)}")
    print(f"callers that never ended: {ledger.counts['callers that never ended']}")
    wrong = sum(found.values()) - found["adopted"] + ledger.counts["callers that never ended"]
    return wrong == 0 and share <= MAX_FAILED_SHARE


def main() -> None:
    """Runs it as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with ExitStack() as stack:
        server = stack.enter_context(ThreadServer(create_stand_in()))
        stand_in = StandIn(server.origin)
        stack.callback(stand_in.close)
        port = free_port()
        stack.enter_context(azurite_process.running(port))
        account = azurite_process.connection_string(port)
        proxy, connection_string = stack.enter_context(proxy_before(account))
        settings = blob_settings(connection_string) | {
            "MCP_API_KEY": KEY,
            "OPENAI_BASE_URL": stand_in.base_url,
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_VIDEO_MODEL": VIDEO_MODEL,
            # Longer than a lease, so that a repeat outlives the worker that was killed.
            "REQUEST_DEADLINE_SECONDS": "60",
        }
        fleet = Fleet(settings, stack)

        async def all_of_it() -> bool:
            ledger = await run(options, fleet, proxy)
            direct = settings | {"AZURE_STORAGE_CONNECTION_STRING": account}
            found = await check(fleet, ledger, direct, stand_in)
            return report(options, fleet, ledger, found)

        sys.exit(0 if asyncio.run(all_of_it()) else 1)


if __name__ == "__main__":
    main()
