"""What /v1 adds to a call of a provider, plain and streamed; prints, and judges nothing.

The same call goes straight to a server of fixed answers and through the app to that server, in turns
within one run, because the machine is never quiet.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import httpx2
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from local.server import LOOPBACK, LoopbackServer, bind
from tests.bench.latency import KEY, WARM_UP, measure, percentile, running

CHAT = "/v1/chat/completions"
PAIRS = 500
CHUNKS = 1000
CLIENTS = (16, 64)
LONG_STREAM_BYTES = 100 * 1024 * 1024
_MESSAGES = [{"role": "user", "content": "Say hello"}]
_PLAIN = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)
_CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"hello "}}]}\n\n'
)
_LAST = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)
_DONE = b"data: [DONE]\n\n"


async def upstream(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a chat completion.

    Of a stream ``user`` says how many chunks it has and, after a space, how many seconds pass before
    each; each chunk has ``n`` events.
    """
    request = Request(scope, receive)
    body = await request.json()
    response: Response = Response(_PLAIN, media_type="application/json")
    if body.get("stream"):
        chunks, _, seconds = body.get("user", "1").partition(" ")
        events = _stream(int(chunks), body.get("n", 1), float(seconds or 0))
        response = StreamingResponse(events, media_type="text/event-stream")
    await response(scope, receive, send)


async def _stream(chunks: int, events: int, seconds: float) -> AsyncIterator[bytes]:
    for _ in range(chunks):
        yield _CHUNK * events
        # Each chunk is read and sent on by itself, also where no time passes.
        await asyncio.sleep(seconds)
    yield _LAST + _DONE


async def serve() -> None:
    """Serves the fixed answers and prints where."""
    server = LoopbackServer(upstream, bind(0), grace_seconds=0)
    server.listen()
    sys.stdout.write(f"UPSTREAM=http://{LOOPBACK}:{server.port}\n")
    sys.stdout.flush()
    await server.run_until_stopped()


def peak_kilobytes() -> dict[int, int]:
    """Returns the peak of memory of each process that runs the app, by its id."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            command = status.with_name("cmdline").read_bytes()
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            continue
        if b"-m\0local\0--port" in command:
            found[int(status.parent.name)] = int(lines["VmHWM"].split()[0])
    return found


async def compare(
    direct: httpx2.AsyncClient, app: httpx2.AsyncClient, clients: int, pairs: int
) -> None:
    """Measures both sides with so many calls at once, in turns."""
    times: dict[str, list[float]] = {"straight": [], "through /v1": []}

    async def call(client: httpx2.AsyncClient, into: list[float]) -> None:
        started = perf_counter()
        (await client.post(CHAT, json={"model": "m", "messages": _MESSAGES})).raise_for_status()
        into.append((perf_counter() - started) * 1000)

    for _ in range(pairs // clients):
        for (_, into), client in zip(times.items(), (direct, app), strict=True):
            await asyncio.gather(*(call(client, into) for _ in range(clients)))
    for name, values in times.items():
        print(
            f"{f'{name}, {clients} at once':45} p50 {percentile(values, 50):6.2f} ms   "
            f"p99 {percentile(values, 99):6.2f} ms"
        )


async def stream(client: httpx2.AsyncClient, chunks: int, events: int = 1) -> tuple[float, float]:
    """Returns the milliseconds to the first byte of a stream, and to its last one."""
    body: dict[str, object] = {"model": "m", "messages": _MESSAGES, "stream": True}
    body |= {"user": str(chunks), "n": events}
    started = perf_counter()
    first = 0.0
    async with client.stream("POST", CHAT, json=body) as response:
        async for _ in response.aiter_raw():
            first = first or (perf_counter() - started) * 1000
    return first, (perf_counter() - started) * 1000


async def compare_streams(direct: httpx2.AsyncClient, app: httpx2.AsyncClient, pairs: int) -> None:
    """Prints what is added to the first byte, and to each chunk."""
    firsts, chunks = [], []
    for _ in range(pairs):
        straight, through = await stream(direct, CHUNKS), await stream(app, CHUNKS)
        firsts.append(through[0] - straight[0])
        rest = (through[1] - through[0]) - (straight[1] - straight[0])
        chunks.append(rest / CHUNKS * 1000)
    print(f"{'added to the first byte of a stream':45} p50 {percentile(firsts, 50):6.2f} ms")
    print(f"{'added to each chunk':45} p50 {percentile(chunks, 50):6.1f} us")


async def main() -> None:
    """Runs all measurements."""
    with ExitStack() as stack:
        origin = stack.enter_context(
            running("upstream", pattern=r"UPSTREAM=(\S+)", module="tests.bench.v1")
        )
        app = stack.enter_context(
            running(
                pattern=r"API +(\S+)",
                OPENAI_BASE_URL=f"{origin}/v1",
                OPENAI_API_KEY=KEY,
                MCP_API_KEY=KEY,
                LOG_LEVEL="warning",
            )
        ).replace("localhost", LOOPBACK)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            httpx2.AsyncClient(base_url=origin, timeout=120) as direct,
            httpx2.AsyncClient(base_url=app, headers=headers, timeout=120) as through,
        ):

            def plain(client: httpx2.AsyncClient) -> Callable[[], Awaitable[object]]:
                body = {"model": "m", "messages": _MESSAGES}
                return lambda: client.post(CHAT, json=body)

            calls = {"straight to the server": plain(direct), "through /v1": plain(through)}
            for call in calls.values():
                for _ in range(WARM_UP):
                    await call()
            await measure(calls, PAIRS)
            for clients in CLIENTS:
                await compare(direct, through, clients, PAIRS * 2)
            await compare_streams(direct, through, 20)
            before = peak_kilobytes()
            await stream(through, LONG_STREAM_BYTES // len(_CHUNK) // 200, 200)
            grown = [peak - before.get(pid, peak) for pid, peak in peak_kilobytes().items()]
            print(
                f"{'memory added by a stream of 100 MB':45} {max(grown, default=0) / 1024:6.1f} MB"
            )


if __name__ == "__main__":
    asyncio.run(serve() if "upstream" in sys.argv else main())
