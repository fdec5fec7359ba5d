"""This app beside the SDK's own MCP application, FastMCP, and LiteLLM's proxy; judges nothing.

    make bench-peers VENV=.venv-deployed PYTHON=python3.13

All get the same requests in turns within one run, from one client on the same machine. The MCP servers
have the same tools, whose calls answer the same. LiteLLM's proxy and this app forward to the same server
of fixed answers. All but LiteLLM run under uvicorn as our local host does; LiteLLM runs by its own
command, with the faster event loop uvloop that it brings. Each logs as it does by default, into a file.
This app checks a key, counts, and books each paid call in a folder store; LiteLLM checks its master key
and has no database; the other two check nothing.
"""

import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp

from tests.bench.peer_processes import (
    PEERS,
    Server,
    app_running,
    litellm_running,
    running,
    worker_running,
)
from tests.bench.turns import Call, CallFailed, print_table, take_turns
from tests.mcp.support import HEADERS, modern_request, request
from tests.ports import KEEP_ALIVE_SECONDS

CHAT = "/v1/chat/completions"
TURNS = {1: (8, 20), 16: (32, 5), 64: (64, 4)}
"""Requests of a turn, and rounds, for so many at once."""
STREAM_TURNS = {1: (4, 10), 16: (16, 4), 64: (64, 2)}
CHUNKS = 50
STREAMS = 300
SLOW_STREAM = "30 0.1"
"""Chunks, and seconds before each."""
OLDER = {"MCP-Protocol-Version": "2025-06-18"}
PACKAGES = ("mcp", "fastmcp", "litellm", "starlette", "uvicorn", "uvloop", "openai")
_FAILURES = (b'"isError":true', b'data: {"error"', b'"id":1,"error"')
"""What answers with status 200 have that tell of a failure."""
_TIME = {"name": "server_time", "arguments": {}}


def post(
    http: aiohttp.ClientSession, url: str, body: Any, headers: dict[str, str] | None = None
) -> Call:
    """Returns a call that posts a body and reads the whole answer."""

    async def call() -> float:
        started = perf_counter()
        try:
            async with http.post(url, json=body, headers=headers) as response:
                first = await response.content.readany()
                milliseconds = (perf_counter() - started) * 1000
                answer = first + await response.read()
        except aiohttp.ClientError as error:
            raise CallFailed(type(error).__name__) from error
        if response.status != 200 or any(mark in answer for mark in _FAILURES):
            raise CallFailed(f"{response.status} {answer[:100]!r}")
        return milliseconds

    return call


async def compare_mcp(http: aiohttp.ClientSession, servers: dict[str, Server]) -> None:
    """Compares calls and lists of tools."""
    kinds = {
        "tools/call, 2026-07-28": modern_request("tools/call", _TIME),
        "tools/call, 2025-06-18": (request(1, "tools/call", _TIME), OLDER),
        "tools/list, 2026-07-28": modern_request("tools/list"),
    }
    for kind, (message, headers) in kinds.items():
        calls = {
            name: post(http, f"{server.origin}/mcp", message, HEADERS | headers | server.headers)
            for name, server in servers.items()
        }
        for at_once in (1, 16):
            measured = await take_turns(calls, at_once, *TURNS[at_once])
            print_table(f"{kind}, {at_once} at once", measured)


async def compare_chat(http: aiohttp.ClientSession, servers: dict[str, Server]) -> None:
    """Compares chat completions, plain and streamed."""
    streamed = {"stream": True, "user": f"{CHUNKS} 0"}
    for kind, more, turns in (("plain", {}, TURNS), ("streamed", streamed, STREAM_TURNS)):
        body = _asked() | more
        calls = {
            name: post(http, f"{server.origin}{CHAT}", body, server.headers)
            for name, server in servers.items()
        }
        for at_once, (requests, rounds) in turns.items():
            measured = await take_turns(calls, at_once, requests, rounds)
            print_table(f"chat completion, {kind}, {at_once} at once", measured)


async def compare_one_chat(http: aiohttp.ClientSession, direct: Server, app: Server) -> None:
    """Compares a chat with the agent, which is stored, with the call that it makes of the provider."""
    asked = _asked() | {"stream": True, "user": "1 0"}
    chat = {"message": "Say hello", "tools": "none"}
    calls = {
        "straight to the provider": post(http, f"{direct.origin}{CHAT}", asked),
        "POST /chat, a new conversation": post(http, f"{app.origin}/chat", chat, app.headers),
    }
    print_table("one chat", await take_turns(calls, 1, *TURNS[1]))


async def compare_streams(http: aiohttp.ClientSession, servers: dict[str, Server]) -> None:
    """Reads many slow streams at once from each server."""
    print(f"\n{STREAMS} streams at once, {SLOW_STREAM} (chunks, seconds between)")
    for name, server in servers.items():
        body = _asked() | {"stream": True, "user": SLOW_STREAM}
        call = post(http, f"{server.origin}{CHAT}", body, server.headers)
        started = perf_counter()
        ends = await asyncio.gather(*(call() for _ in range(STREAMS)), return_exceptions=True)
        seconds = perf_counter() - started
        firsts = [end for end in ends if isinstance(end, float)]
        print(
            f"{name:38} complete {len(firsts):3}, all after {seconds:5.1f} s, first byte p50 "
            f"{statistics.median(firsts or [0]):6.0f} ms, last {max(firsts, default=0):6.0f} ms, "
            f"peak {server.peak_mb:4.0f} MB"
        )


def _asked() -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Say hello"}]}


async def run(mcp: dict[str, Server], chat: dict[str, Server]) -> None:
    """Runs all comparisons."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        await compare_chat(http, chat)
        await compare_streams(http, chat)
        direct, app = list(chat.values())[:2]
        await compare_one_chat(http, direct, app)
        await compare_mcp(http, mcp)


async def described(app: Server) -> dict[str, Any]:
    """Returns the tools of this app as it lists them, and what its ``server_time`` answers."""
    found = {}
    async with aiohttp.ClientSession() as http:
        for field, method, params in (("tools", "tools/list", {}), ("result", "tools/call", _TIME)):
            message, headers = modern_request(method, params)
            sent = HEADERS | headers | app.headers
            async with http.post(f"{app.origin}/mcp", json=message, headers=sent) as response:
                text = await response.text()
            lines = [line for line in text.splitlines() if line.startswith("data: ")] or [text]
            found[field] = json.loads(lines[-1].removeprefix("data: "))["result"]
    result = found["result"]
    parts = {name: result[name] for name in ("content", "structuredContent")}
    return {"tools": found["tools"]["tools"], "result": parts}


def print_versions() -> None:
    """Prints what is compared, and on what."""
    code = (
        "import platform\nfrom importlib.metadata import version\n"
        f"print(platform.python_version(), *(f'{{name}} {{version(name)}}' for name in {PACKAGES}))"
    )
    peers = subprocess.run([f"{PEERS}/python", "-c", code], capture_output=True, text=True)
    print(__doc__)
    print(f"this app: Python {platform.python_version()}, {os.cpu_count()} processors")
    print(f"peers: Python {peers.stdout.strip()}")
    print(f"machine: load {os.getloadavg()[0]:.1f} at the start")


def main() -> None:
    """Starts all servers and compares them."""
    if sys.version_info < (3, 13):
        print("The comparison with others needs Python 3.13, for the Functions worker.")
        return
    if not PEERS.exists():
        sys.exit("The peers are not installed. Run: make bench-peers")
    print_versions()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(
            running(
                [sys.executable, "-m", "tests.bench.v1", "upstream", "--port", "0"],
                r"UPSTREAM=(\S+)",
            )
        )
        settings = {"OPENAI_BASE_URL": f"{upstream.origin}/v1", "OPENAI_API_KEY": "unused"}
        local, in_worker = (
            settings | {"LOCAL_STORAGE_PATH": str(folder / name)} for name in ("local", "worker")
        )
        app = stack.enter_context(app_running(local))
        tools = folder / "tools.json"
        tools.write_text(json.dumps(asyncio.run(described(app))))
        serve = ["-m", "tests.bench.peer_servers"]
        mcp = {
            "the SDK's own application": stack.enter_context(
                running([sys.executable, *serve, "sdk", str(tools)], r"PEER=(\S+)")
            ),
            "this app": app,
            "FastMCP": stack.enter_context(
                running([f"{PEERS}/python", *serve, "fastmcp", str(tools)], r"PEER=(\S+)")
            ),
        }
        chat = {
            "straight to the provider": upstream,
            "this app": app,
            "this app, in the worker behind a host": stack.enter_context(worker_running(in_worker)),
            "LiteLLM": stack.enter_context(litellm_running(f"{upstream.origin}/v1", folder)),
        }
        asyncio.run(run(mcp, chat))


if __name__ == "__main__":
    main()
