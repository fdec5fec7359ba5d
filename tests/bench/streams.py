"""Many streams at once in one process: memory, the time of others, and what blocks the event loop.

    python -m tests.bench.streams

Prints, and judges nothing. Callers and provider are processes of their own. The provider writes slowly,
so that all streams are open together; one caller in ten reads nothing until the others are done.
Meanwhile a burst of short requests comes, which is to be answered between the streams' events.
"""

import argparse
import asyncio
import gc
import json
import logging
import resource
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import httpx2

from local.server import LOOPBACK, LoopbackServer, bind
from shared.app import create_app
from shared.settings import load_settings
from tests.bench.latency import KEY, running
from tests.bench.loop_watch import LoopWatch

DOORS = {
    "/chat": {"message": "Tell a story", "stream": True, "tools": "none"},
    "/v1/chat/completions": {
        "model": "gpt-5-mini",
        "messages": [{"role": "user", "content": "Tell a story"}],
        "stream": True,
    },
}
SLOW_SHARE = 10
SHOWN_FRAMES = 5
BURST_REQUESTS = 100
BURST_AFTER_SECONDS = 6
_WORDS = 60
_SCRIPT = [{"match": {"path": "chat/"}, "text": "word " * _WORDS, "chunk_delay": 0.2}]


async def call_all(origin: str, path: str, streams: int) -> None:
    """Opens all streams, reads them to their end, and prints how many ended as they should."""
    others_are_done = asyncio.Event()
    left = streams - streams // SLOW_SHARE

    async def call(number: int) -> bool:
        nonlocal left
        is_slow = number % SLOW_SHARE == SLOW_SHARE - 1
        body = json.dumps(DOORS[path]).encode()
        host, port = origin.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        if is_slow:
            await others_are_done.wait()
        text = await reader.read(-1)
        writer.close()
        if not is_slow:
            left -= 1
            if not left:
                others_are_done.set()
        return b"chat.completed" in text or b"[DONE]" in text

    began = perf_counter()
    burst = asyncio.create_task(burst_times(origin))
    complete = await asyncio.gather(*map(call, range(streams)))
    row = {"complete": sum(complete), "seconds": round(perf_counter() - began, 1)}
    times = await burst
    row |= {"burst_p50_ms": round(median(times), 1), "burst_last_ms": round(max(times), 1)}
    sys.stdout.write(f"{json.dumps(row)}\n")


async def burst_times(origin: str) -> list[float]:
    """Sends short requests at once, while the streams run, and returns the milliseconds of each."""
    host, port = origin.removeprefix("http://").split(":")
    await asyncio.sleep(BURST_AFTER_SECONDS)
    connections = [await asyncio.open_connection(host, int(port)) for _ in range(BURST_REQUESTS)]
    head = f"GET /me HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
    began = perf_counter()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        await reader.read(-1)
        writer.close()
        return (perf_counter() - began) * 1000

    return await asyncio.gather(*(ask(*each) for each in connections))


async def measure(origin: str, path: str, streams: int) -> dict[str, object]:
    """Runs the callers, and asks for the app's health meanwhile."""
    times: list[float] = []
    arguments = ["-m", "tests.bench.streams", "--callers", origin, "--path", path]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, "--streams", str(streams), stdout=asyncio.subprocess.PIPE
    )
    reading = asyncio.create_task(process.communicate())
    # A kept connection might be closed just when it is used again.
    limits = httpx2.Limits(max_keepalive_connections=0)
    async with httpx2.AsyncClient(base_url=origin, limits=limits, timeout=300) as http:
        while not reading.done():
            began = perf_counter()
            await http.get("/health")
            times.append((perf_counter() - began) * 1000)
            await asyncio.sleep(0.05)
    output, _ = await reading
    return {
        "door": path,
        "streams": streams,
        **json.loads(output),
        "health_p50_ms": round(median(times), 1),
        "health_p99_ms": round(quantiles(times, n=100)[-1], 1),
    }


async def serve_and_measure(upstream: str, folder: Path, streams: int) -> None:
    """Serves the app in this process and measures each door."""
    settings = {
        "MCP_API_KEY": KEY,
        "OPENAI_BASE_URL": f"{upstream}/v1",
        "OPENAI_API_KEY": "sk-bench",
        "LOCAL_STORAGE_PATH": str(folder),
    }
    server = LoopbackServer(create_app(load_settings(settings)), bind(0), grace_seconds=0)
    server.listen()
    origin = f"http://{LOOPBACK}:{server.port}"
    serving = asyncio.create_task(server.run_until_stopped())
    for path in DOORS:
        await measure(origin, path, 1)
        # As instances do that have loaded everything (shared/preloading.py).
        gc.freeze()
        before = _resident_mb()
        async with LoopWatch() as watch:
            row = await measure(origin, path, streams)
        print(json.dumps(row | {"mb_before": before, "mb_peak": _resident_mb()}))
        for each in watch.longest(3):
            print(
                f"  blocked {each.seconds * 1000:.0f} ms, {each.cpu_seconds * 1000:.0f} computing:"
            )
            print("".join(f"    {line}\n" for line in each.stack[-SHOWN_FRAMES:]), end="")
    server.stop()
    await serving


def _resident_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def main() -> None:
    """Measures and prints."""
    logging.disable()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=300)
    parser.add_argument("--callers", help="origin of the app, in the process of the callers")
    parser.add_argument("--path", choices=list(DOORS))
    options = parser.parse_args()
    if options.callers:
        asyncio.run(call_all(options.callers, options.path, options.streams))
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        script = folder / "script.json"
        script.write_text(json.dumps(_SCRIPT))
        stand_in = running("stand-in", "--script", str(script), pattern=r"(http://127[\d.:]+)")
        upstream = stack.enter_context(stand_in)
        asyncio.run(serve_and_measure(upstream, folder / "storage", options.streams))


if __name__ == "__main__":
    main()
