"""How long `GET /health` takes while callers use servers that mean harm; judges nothing.

Run with ``python -m tests.bench.hostile_servers [TRICK...]``.
"""

import asyncio
import gzip
import json
import subprocess
import sys
import tempfile
import zlib
from collections.abc import AsyncIterator
from contextlib import ExitStack
from time import perf_counter
from typing import Any

import httpx2

from local.server import LoopbackServer
from tests.bench.video_memory import resident_megabytes
from tests.conftest import AUTH, KEY
from tests.connections.hostile import (
    MEGABYTE,
    TOOL,
    Exchange,
    Hostile,
    Trick,
    event,
    notification,
    on_call,
    on_stream,
    results,
)
from tests.mcp.support import process_environment
from tests.media.app_process import AppProcess, running

CALLERS = 4
PROBES = 4
CALLS = 3
CALL_SECONDS = 6
BASELINE_SECONDS = 5
TAGS = "".join(chr(0xE0000 + ord(letter)) for letter in "obey")


def text(value: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": value}]}


def tools(*listed: dict[str, Any]) -> Trick:
    return results(tools_list={"tools": list(listed)})


def deep(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        value = {"type": "object", "properties": {"a": value}}
    return value


def with_output_schema(schema: dict[str, Any], value: Any) -> Trick:
    listed = {"tools": [{**TOOL, "outputSchema": schema}]}
    return results(tools_list=listed, tools_call={"content": [], "structuredContent": value})


async def endless(piece: bytes) -> AsyncIterator[bytes]:
    while True:
        yield piece


async def endless_progress(exchange: Exchange) -> AsyncIterator[bytes]:
    number = 0
    while True:
        number += 1
        yield exchange.progress(number) * 20


async def endless_pings(exchange: Exchange) -> AsyncIterator[bytes]:
    number = 0
    while True:
        number += 1
        yield event(json.dumps({"jsonrpc": "2.0", "id": number, "method": "ping"}).encode())


async def false_answers(exchange: Exchange) -> AsyncIterator[bytes]:
    params = {"data": 'x "result" ' + "y" * 1000, "level": "info"}
    while True:
        yield notification("notifications/message", params) * 50


async def long_false_answers(exchange: Exchange) -> AsyncIterator[bytes]:
    params = {"result": 1, "data": "é" * 3 * MEGABYTE, "level": "info"}
    while True:
        yield notification("notifications/message", params)


async def single_bytes(exchange: Exchange) -> AsyncIterator[bytes]:
    while True:
        yield b"d"


def answered_as(body: bytes, content_type: str = "application/json", **headers: str) -> Trick:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    @on_call
    async def trick(exchange: Exchange) -> None:
        await exchange.respond(body, content_type, headers=named)

    return trick


@on_call
async def redirecting(exchange: Exchange) -> None:
    await exchange.respond(b"", status=307, headers={"location": "/redirecting"})


async def endless_pages(exchange: Exchange) -> None:
    if exchange.message.get("method") == "tools/list":
        cursor = int(exchange.message["params"].get("cursor") or 0)
        await exchange.reply({"tools": [], "nextCursor": str(cursor + 1), "x": "y" * 100_000})
    else:
        await exchange.reply()


async def resuming(exchange: Exchange) -> None:
    if exchange.method == "GET" or exchange.is_call:
        await exchange.respond(b"id: 1\nretry: 0\ndata: \n\n", "text/event-stream")
    else:
        await exchange.reply()


async def metadata(exchange: Exchange) -> None:
    if exchange.method == "POST":
        await exchange.respond(b"", status=401)
        return
    await exchange.start("text/event-stream")
    async for piece in endless(b" " * 65536):
        await exchange.write(piece)


BOMB = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/d0"}},
    "$defs": {
        **{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 4} for n in range(30)},
        "d30": {"type": "string"},
    },
}
PATTERN = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a|a)+$"}}}
ROWS = [{"k": str(number), "v": number} for number in range(5000)]
TRICKS: dict[str, Trick] = {
    "ordinary": results(),
    "pattern": with_output_schema(PATTERN, {"a": "a" * 60 + "!"}),
    "references": with_output_schema(BOMB, {"a": "x"}),
    "gzip": answered_as(
        gzip.compress(b" " * 200 * MEGABYTE), "text/event-stream", content_encoding="gzip"
    ),
    "gzip-twice": answered_as(
        gzip.compress(gzip.compress(b" " * 200 * MEGABYTE)), content_encoding="gzip, gzip"
    ),
    "charset": answered_as(zlib.compress(b" " * 200 * MEGABYTE), "text/event-stream; charset=zlib"),
    "metadata": metadata,
    "deep-json": answered_as(b'{"a":' * 500_000 + b"1" + b"}" * 500_000),
    "nested-lists": answered_as(b"[" * 8 * MEGABYTE),
    "many-values": answered_as(b'{"a":[' + b"0," * 4 * MEGABYTE + b"0]}"),
    "allowed-values": results(tools_call={"content": [], "structuredContent": {"r": ROWS}}),
    "odd-parts": results(tools_call={"content": [{"type": "odd"}] * 15_000}),
    "long-text": results(tools_call=text("x, [y] {z} " * 700_000)),
    "long-tags": results(tools_call=text(f"a{TAGS}" * 120_000)),
    "long-text-stream": on_stream(
        lambda exchange: endless(event(exchange.answer(text("é" * 3 * MEGABYTE))))
    ),
    "heavy-tools": tools(
        *({**TOOL, "name": f"t{n}", "description": "x" * 70_000} for n in range(100))
    ),
    "many-tools": tools(*({**TOOL, "name": f"t{n}"} for n in range(2500))),
    "heavy-schemas": tools(
        *({**TOOL, "name": f"t{n}", "inputSchema": deep(19)} for n in range(200))
    ),
    "recursive": tools({**TOOL, "inputSchema": {"type": "object", "$ref": "#"}}),
    "bomb-schemas": tools(*({**TOOL, "name": f"t{n}", "inputSchema": BOMB} for n in range(100))),
    "long-names": tools({**TOOL, "name": "n" * MEGABYTE}, {**TOOL, "title": TAGS * 300_000}),
    "pages": endless_pages,
    "redirecting": redirecting,
    "resuming": resuming,
    "headers": answered_as(b"{}", **{f"x-{n}": "y" * 300 for n in range(200)}),
    "progress": on_stream(endless_progress),
    "pings": on_stream(endless_pings),
    "false-answers": on_stream(false_answers),
    "long-false-answers": on_stream(long_false_answers),
    "comments": on_stream(lambda _: endless(b": x\n\n" * 10_000)),
    "line-breaks": on_stream(lambda _: endless(b"\n" * 65536)),
    "many-lines": on_stream(lambda _: endless(b"data:\n" * 10_000)),
    "endless-event": on_stream(lambda _: endless(b"data: " + b"x" * 65536)),
    "single-bytes": on_stream(single_bytes),
    "wrong-type": answered_as(b"x" * 7 * MEGABYTE, "image/png"),
}


async def attack(http: httpx2.AsyncClient, url: str, trick: str) -> None:
    """Connects to a server and uses it, whatever comes of it."""
    fields = {"auth_type": "oauth"} if trick == "metadata" else {}
    body = {"mcp_url": f"{url}/{trick}", "timeout": CALL_SECONDS, **fields}
    client_id = (await http.post("/mcp/connect", json=body)).json().get("client_id")
    if client_id is None:
        return
    call = {"client_id": client_id, "tool_name": "tool", "timeout": CALL_SECONDS}
    for _ in range(CALLS):
        await http.post("/mcp/call_tool", json=call)
        await http.get("/mcp/list_tools", params={"client_id": client_id})
    await http.post("/mcp/disconnect", json={"client_id": client_id})


async def probe(http: httpx2.AsyncClient, waits: list[float], done: asyncio.Event) -> None:
    """Asks for the health again and again."""
    while not done.is_set():
        started = perf_counter()
        (await http.get("/health")).raise_for_status()
        waits.append(perf_counter() - started)


async def measure(app: AppProcess, url: str, trick: str | None) -> float:
    """Prints how long others waited during one trick, and returns the longest wait in milliseconds."""
    waits: list[float] = []
    done = asyncio.Event()
    async with (
        httpx2.AsyncClient(base_url=app.origin, headers=AUTH, timeout=120) as http,
        httpx2.AsyncClient(base_url=app.origin, timeout=120) as others,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(PROBES):
            group.create_task(probe(others, waits, done))
        if trick is None:
            await asyncio.sleep(BASELINE_SECONDS)
        else:
            await asyncio.gather(*(attack(http, url, trick) for _ in range(CALLERS)))
        done.set()
    waits.sort()
    longest, usual = 1000 * waits[-1], 1000 * waits[len(waits) // 2]
    print(
        f"{trick or 'nobody':20} {len(waits):6} answers, median {usual:6.1f} ms, "
        f"99 % {1000 * waits[len(waits) * 99 // 100]:6.1f} ms, longest {longest:6.1f} ms, "
        f"{resident_megabytes(app):6.1f} MB",
        flush=True,
    )
    return longest


async def main(wanted: list[str]) -> None:
    """Runs all tricks one after another, each by several callers at once."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        settings = process_environment(
            MCP_API_KEY=KEY,
            LOCAL_STORAGE_PATH=folder,
            CONNECTIONS_ALLOW_PRIVATE_NETWORKS="true",
            LOG_LEVEL="error",
        )
        command = [sys.executable, "-m", "tests.bench.hostile_servers", "--serve"]
        server = stack.enter_context(_started(command))
        stack.callback(server.kill)
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        app = stack.enter_context(running(settings))
        await measure(app, url, "ordinary")
        await measure(app, url, None)
        longest = [await measure(app, url, trick) for trick in wanted or TRICKS]
        await measure(app, url, None)
        print(f"The longest wait of all was {max(longest):.0f} ms.")


def _started(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def serve() -> None:
    """Serves all tricks until it is killed."""
    tricks = {**TRICKS, ".well-known/oauth-protected-resource/metadata": metadata}
    server = LoopbackServer(Hostile(tricks))
    server.listen()
    print(f"http://127.0.0.1:{server.port}", flush=True)
    asyncio.run(server.run_until_stopped())


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve()
    else:
        asyncio.run(main(sys.argv[1:]))
