"""What the app adds to a provider call, and how many MCP calls it answers; prints, and judges nothing.

Both sides of a comparison are measured in turns within one run, because the machine is never quiet.
"""

import asyncio
import itertools
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter

import httpx2
from openai import AsyncOpenAI

PROJECT = Path(__file__).parent.parent.parent
KEY = "bench"
WARM_UP = 50
PAIRS = 1000
MCP_CALLS = 3000
MCP_CLIENTS = 16
SERVER_TIME = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "server_time", "arguments": {}},
}


@contextmanager
def running(
    *arguments: str, pattern: str, module: str = "local", **environment: str
) -> Iterator[str]:
    """Runs a module with arguments and yields what the pattern finds in its output."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments, "--port", "0"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        output = process.stdout or ()
        yield next(found.group(1) for line in output if (found := re.search(pattern, line)))
    finally:
        process.terminate()
        process.wait()


async def measure(calls: dict[str, Callable[[], Awaitable[object]]], pairs: int) -> None:
    """Makes the calls in turns and prints the percentiles of each, and of their differences."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(pairs):
        for name, call in calls.items():
            started = perf_counter()
            await call()
            times[name].append((perf_counter() - started) * 1000)
    for name, values in times.items():
        print(
            f"{name:45} p50 {percentile(values, 50):6.2f} ms   p99 {percentile(values, 99):6.2f} ms"
        )
    for (one, first), (other, second) in itertools.combinations(times.items(), 2):
        added = [b - a for a, b in zip(first, second, strict=True)]
        ratio = statistics.median(second) / statistics.median(first)
        print(
            f"{f'added by {other!r} over {one!r}':45} "
            f"p50 {percentile(added, 50):6.2f} ms   p99 {percentile(added, 99):6.2f} ms   "
            f"ratio of medians {ratio:.2f}"
        )


def percentile(values: list[float], percent: int) -> float:
    """Returns a percentile from 1 to 99."""
    return statistics.quantiles(values, n=100)[percent - 1]


async def main() -> None:
    """Runs all measurements."""
    with ExitStack() as stack:
        upstream = stack.enter_context(running("stand-in", pattern=r"OPENAI_BASE_URL=(\S+)"))
        app = stack.enter_context(
            running(
                pattern=r"API +(\S+)",
                OPENAI_BASE_URL=upstream,
                MCP_API_KEY=KEY,
                LOG_LEVEL="warning",
            )
        )
        openai = AsyncOpenAI(base_url=upstream, api_key="bench", max_retries=0)
        headers = {
            "Authorization": f"Bearer {KEY}",
            "Accept": "application/json, text/event-stream",
        }
        app = app.replace("localhost", "127.0.0.1")
        client = httpx2.AsyncClient(base_url=app, headers=headers, timeout=30)

        async def direct() -> None:
            await openai.chat.completions.create(
                model="gpt-6-luna", messages=[{"role": "user", "content": "Say hello"}]
            )

        async def through_the_app() -> None:
            answer = await client.post("/tools/chat_completion", json={"prompt": "Say hello"})
            answer.raise_for_status()

        async def health() -> None:
            (await client.get("/health")).raise_for_status()

        async def mcp() -> None:
            (await client.post("/mcp", json=SERVER_TIME)).raise_for_status()

        for _ in range(WARM_UP):
            await direct()
            await through_the_app()
            await mcp()
        await measure(
            {"openai client": direct, "POST /tools/chat_completion": through_the_app}, PAIRS
        )
        await measure({"GET /health": health, "tools/call server_time at /mcp": mcp}, PAIRS)

        remaining = iter(range(MCP_CALLS))

        async def work() -> None:
            for _ in remaining:
                await mcp()

        started = perf_counter()
        await asyncio.gather(*(work() for _ in range(MCP_CLIENTS)))
        rate = MCP_CALLS / (perf_counter() - started)
        print(f"{f'server_time at /mcp, {MCP_CLIENTS} clients':45} {rate:6.0f} calls per second")
        await client.aclose()
        await openai.close()


if __name__ == "__main__":
    asyncio.run(main())
