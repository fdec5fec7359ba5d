"""What the app computes for a request that asks nobody outside; judges nothing.

    python -m tests.bench.in_process

The application is called as a server calls it, without a network, and in turns with the MCP SDK's own
stateless application, which has the same tools and answers the same. The log goes to a file, as
the app writes it by default. Times are the processor's, of the whole process.
"""

import asyncio
import json
import logging
import platform
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import process_time
from typing import Any

from starlette.applications import Starlette
from starlette.types import Message

from shared.app import create_app
from shared.asgi import replay
from shared.settings import load_settings
from tests.bench.peer_servers import sdk_app
from tests.conftest import digest
from tests.mcp.support import HEADERS, modern_request, request

KEY = "the-key-of-the-benchmark"  # pragma: allowlist secret
ROUNDS = 40
CALLS = 50
"""Calls of a turn, of which the mean is taken."""
WARM_UP = 20
OLDER = {"MCP-Protocol-Version": "2025-06-18"}
PACKAGES = ("mcp", "fastapi", "starlette")
_TIME = {"name": "server_time", "arguments": {}}


@dataclass
class Request:
    """A request as a server hands it over, and what it took.

    Attributes:
        app: What answers.
        method: Its method.
        path: Its path.
        headers: Headers beside those that every client sends.
        body: Its body; None for none.
        turns: Milliseconds of a call in each turn.
    """

    app: Starlette
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    turns: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._body = b"" if self.body is None else json.dumps(self.body).encode()
        sent = {
            "Host": "127.0.0.1:7071",
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
            "Connection": "keep-alive",
            "User-Agent": "bench",
            "X-Api-Key": KEY,
            **self.headers,
        }
        if self._body:
            sent |= {"Content-Type": "application/json", "Content-Length": str(len(self._body))}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in sent.items()]

    async def send(self) -> bytes:
        """Sends it, and returns the body of the answer.

        Raises:
            RuntimeError: It was not answered with 200.
        """
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": list(self._headers),
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 7071),
            "state": {},
        }
        status, answer = 0, []

        async def receive_answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                answer.append(message.get("body", b""))

        await self.app(scope, replay(self._body), receive_answer)
        if status != 200:
            raise RuntimeError(f"{self.path} was answered with {status}: {b''.join(answer)!r}")
        return b"".join(answer)

    async def take_turn(self) -> None:
        """Sends it some times, and notes what each took."""
        started = process_time()
        for _ in range(CALLS):
            # As a server does: what a request leaves to the event loop is part of it.
            await asyncio.create_task(self.send())
        self.turns.append((process_time() - started) * 1000 / CALLS)


async def compare(api: Starlette, sdk: Starlette) -> None:
    """Compares requests of our own routes, and of the protocol with those of the SDK's application."""
    called, listed = modern_request("tools/call", _TIME), modern_request("tools/list")
    older = request(1, "tools/call", _TIME), OLDER
    requests = {
        "GET /health": Request(api, "GET", "/health"),
        "POST /tools/server_time": Request(api, "POST", "/tools/server_time", body={}),
    }
    for name, (body, headers) in {
        "tools/list, 2026-07-28": listed,
        "tools/call, 2026-07-28": called,
        "tools/call, 2025-06-18": older,
    }.items():
        for label, app in (("the SDK's own application", sdk), ("this app", api)):
            requests[f"{name}: {label}"] = Request(app, "POST", "/mcp", HEADERS | headers, body)
    for each in requests.values():
        for _ in range(WARM_UP):
            await asyncio.create_task(each.send())
    order = list(requests.values())
    for _ in range(ROUNDS):
        for each in order:
            await each.take_turn()
        order.reverse()
    print(f"\n{'processor time of a request':52} {'median ms':>10} {'least ms':>10} {'x':>6}")
    base: list[float] = []
    for name, each in requests.items():
        ratio = ""
        if each.app is sdk:
            base = each.turns
        elif base:
            pairs = zip(each.turns, base, strict=True)
            ratio = f"{statistics.median(own / other for own, other in pairs):6.2f}"
        median, least = statistics.median(each.turns), min(each.turns)
        print(f"{name:52} {median:10.3f} {least:10.3f} {ratio:>6}")


async def described(api: Starlette) -> dict[str, Any]:
    """Returns the tools of this app as it lists them, and what its ``server_time`` answers."""
    found = {}
    for method, params in (("tools/list", {}), ("tools/call", _TIME)):
        body, headers = modern_request(method, params)
        answer = await Request(api, "POST", "/mcp", HEADERS | headers, body).send()
        found[method] = json.loads(answer)["result"]
    result = found["tools/call"]
    parts = {name: result[name] for name in ("content", "structuredContent")}
    return {"tools": found["tools/list"]["tools"], "result": parts}


async def run(folder: Path) -> None:
    """Runs both applications and compares them."""
    logging.basicConfig(
        filename=folder / "log", level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    settings = {
        "API_KEYS": json.dumps({"bench": {"sha256": digest(KEY)}}),
        "OPENAI_API_KEY": "unused",
        "LOCAL_STORAGE_PATH": str(folder / "storage"),
    }
    api = create_app(load_settings(settings))
    async with api.router.lifespan_context(api):
        sdk = sdk_app(**await described(api))
        async with sdk.router.lifespan_context(sdk):
            await compare(api, sdk)


def main() -> None:
    """Prints on what it measures, and measures."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(__doc__)
    print(f"Python {platform.python_version()}, {versions}")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


if __name__ == "__main__":
    main()
