"""What booking and limits add to a call, and how long reports take; prints, and judges nothing.

The same call goes in turns to an app that books nothing, to one that books, and to one that holds its
caller to limits, all before the same stand-in, over the folder store and over Azurite.
"""

import asyncio
import json
import os
import secrets
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from time import perf_counter

import httpx2

from shared import services
from shared.app import create_app
from shared.context import CallUsage
from shared.openai_service import MeteredCall
from shared.settings import load_settings
from shared.storage import Storage, owner_key
from shared.usage import Ledger, Prices, Reports, UsageQuery
from shared.usage.booked_call import BookedCall
from shared.usage.lines import Batch, Reserved, Settled, Sums, added, encode
from shared.usage.log_parts import log_name
from tests.bench.latency import measure, percentile, running
from tests.conftest import ThreadServer, digest
from tests.ports import free_port
from tests.storage import azurite

KEY = "the-key-of-the-benchmark"  # pragma: allowlist secret
LIMITS = {"requests_per_day": 10**9, "usd_per_day": 10**6, "requests_per_minute": 10**6}
PRICES = {"gpt-6-luna": {"input": 1, "output": 2}}
WARM_UP = 50
PAIRS = 300
CALLERS = 32
CALLS = 1600
PRINCIPALS = 50
RECORDS = (1_000, 10_000, 100_000)
BATCH = 25
ROUNDS = 15


async def added_latency(name: str, storage: dict[str, str]) -> None:
    """Measures calls of one caller in turns, then of 32 callers with one key."""
    common = {"OPENAI_API_KEY": "bench", "PRICES": json.dumps(PRICES), "LOG_LEVEL": "warning"}
    apps = ("books nothing", "books", "limits")
    with ExitStack() as stack:
        upstream = stack.enter_context(running("stand-in", pattern=r"OPENAI_BASE_URL=(\S+)"))
        clients: dict[str, httpx2.AsyncClient] = {}
        for app in apps:
            key = {"sha256": digest(KEY)} | ({"limits": LIMITS} if app == "limits" else {})
            environment = {
                **common,
                **storage,
                "OPENAI_BASE_URL": upstream,
                "API_KEYS": json.dumps({app.replace(" ", "-"): key}),
            }
            role = "--without-ledger" if app == "books nothing" else "--with-ledger"
            module = "tests.bench.usage"
            origin = stack.enter_context(
                running(role, pattern=r"API +(\S+)", module=module, **environment)
            )
            clients[app] = httpx2.AsyncClient(
                base_url=origin.replace("localhost", "127.0.0.1"),
                headers={"X-Api-Key": KEY},
                timeout=60,
                limits=httpx2.Limits(max_connections=CALLERS),
            )

        def call_of(client: httpx2.AsyncClient) -> Callable[[], Awaitable[object]]:
            async def call() -> None:
                body = {"prompt": "Say hello", "max_tokens": 20}
                (await client.post("/tools/generate", json=body)).raise_for_status()

            return call

        calls = {f"{name}, {app}": call_of(client) for app, client in clients.items()}
        for call in calls.values():
            for _ in range(WARM_UP):
                await call()
        await measure(calls, PAIRS)
        for label, call in calls.items():
            await many(f"{label}, {CALLERS} callers", call)
        for client in clients.values():
            await client.aclose()


async def many(label: str, call: Callable[[], Awaitable[object]]) -> None:
    """Makes calls from many callers at once, and prints how long each took."""
    times: list[float] = []
    remaining = iter(range(CALLS))

    async def work() -> None:
        for _ in remaining:
            started = perf_counter()
            await call()
            times.append((perf_counter() - started) * 1000)

    started = perf_counter()
    await asyncio.gather(*(work() for _ in range(CALLERS)))
    rate = CALLS / (perf_counter() - started)
    print(
        f"{label:45} p50 {percentile(times, 50):6.2f} ms   p99 {percentile(times, 99):6.2f} ms   "
        f"{rate:5.0f} calls per second"
    )


async def reports(name: str, storage_settings: dict[str, str]) -> None:
    """Measures `GET /usage` of a month over so many records, with and without roll-ups."""
    for records in RECORDS:
        suffix = secrets.token_hex(4)
        settings = dict(storage_settings)
        if settings.get("LOCAL_STORAGE_PATH"):
            settings["LOCAL_STORAGE_PATH"] += f"/{suffix}"
        else:
            settings["AZURE_BLOB_STATE_CONTAINER"] = f"state-{suffix}"
        storage = Storage(load_settings(settings))
        ledger = Ledger(storage, Prices({}), load_settings({}).usage.limits)
        found = Reports(storage, ledger)
        today = datetime.now(UTC).date()
        days = [today.replace(day=1) + timedelta(days=each) for each in range(today.day)]
        await _write(storage, days, records)
        query = UsageQuery(days[0], today, "day", None)
        for state in ("logs only", "rolled up"):
            if state == "rolled up":
                await ledger.rollups.roll_up(len(days))
            times = []
            for _ in range(3 if state == "logs only" else ROUNDS):
                started = perf_counter()
                report = await found.usage(query)
                times.append((perf_counter() - started) * 1000)
            assert report.total.provider_calls == records
            label = f"{name}, month of {records:,} records, {state}"
            print(f"{label:60} p50 {statistics.median(times):8.1f} ms")
        await ledger.aclose()
        await storage.aclose()


async def _write(storage: Storage, days: list[date], records: int) -> None:
    per_log = records // (len(days) * PRINCIPALS)
    rest = records - per_log * len(days) * PRINCIPALS
    for day in days:
        moment = datetime.combine(day, datetime.min.time(), UTC).timestamp()
        for number in range(PRINCIPALS):
            count = per_log + (rest if (number, day) == (0, days[0]) else 0)
            name = log_name(owner_key(f"principal-{number}"), day, 1)
            lines, sums, part = [], Sums(), 0
            while count > 0:
                part += 1
                entries: list[Reserved | Settled] = []
                for _ in range(min(BATCH, count)):
                    entries += _call(moment)
                count -= BATCH
                sums = added(sums, entries)
                lines.append(encode(Batch(n=part, sums=sums, entries=tuple(entries))))
            if lines:
                await storage.state.append(name, b"".join(lines), 0)


def _call(moment: float) -> tuple[Reserved, Settled]:
    call_id, call = secrets.token_hex(16), secrets.token_hex(8)
    reserved = Reserved(
        id=call_id,
        at=moment,
        call=call,
        is_request=True,
        until=moment + 230,
        request_id=call_id,
        door="tools",
        tool="generate",
        provider="openai",
        model="gpt-6-luna",
        tokens=1000,
        usd=0.01,
    )
    settled = Settled(
        id=call_id,
        at=moment + 1,
        tokens_before=1000,
        usd_before=0.01,
        tokens=500,
        usd=0.005,
        is_request=True,
        call=call,
        reserved_at=moment,
        model="gpt-6-luna",
        input_tokens=300,
        output_tokens=200,
        status="ok",
        ms=800,
    )
    return reserved, settled


class _BooksNothing(Ledger):
    async def reserve(self, call: MeteredCall) -> BookedCall:
        entry = _call(0)[0]
        return BookedCall(entry, call, [], CallUsage(), Prices({}), lambda: datetime.now(UTC))


def serve(*, books: bool) -> None:
    """Serves the app, with its ledger or with one that books nothing, until it is ended."""
    if not books:
        setattr(services, "Ledger", _BooksNothing)  # noqa: B010  # No name that the module exports.
    with ThreadServer(create_app(load_settings(os.environ))) as server:
        print(f"API {server.origin}", flush=True)
        Event().wait()


async def main() -> None:
    """Runs all measurements."""
    # Reading the system's authorities costs each client 20 ms.
    os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, azurite.running(port):
        stores = {
            "folder": {"LOCAL_STORAGE_PATH": folder},
            "Azurite": azurite.blob_settings(azurite.connection_string(port)),
        }
        for name, settings in stores.items():
            await added_latency(name, settings)
        for name, settings in stores.items():
            await reports(name, settings)


if __name__ == "__main__":
    if "--port" in sys.argv:
        serve(books="--with-ledger" in sys.argv)
    asyncio.run(main())
