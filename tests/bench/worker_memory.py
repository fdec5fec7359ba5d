"""How the memory of the real Functions worker grows with requests; prints, and judges nothing.

20,000 requests of all doors after 1,000 to warm up, and as many of an app with one empty handler, which
shows what the worker's library and its server keep by themselves.
"""

import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import httpx2

from local.stand_in import create_stand_in
from tests.conftest import AUTH, KEY, StandIn, ThreadServer, digest

REQUESTS = 20_000
WARM_UP = 1_000
AT_A_TIME = 8
REQUESTS_OF_A_USER = 100
MEGABYTE = 1_000_000

EMPTY_APP = """
import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route("health", methods=["GET"])
async def health(req: Request) -> Response:
    return Response("")
"""

MCP = {"Accept": "application/json, text/event-stream"}
Ask = Callable[[httpx2.AsyncClient, dict[str, str]], Awaitable[httpx2.Response]]


def _get(path: str) -> Ask:
    return lambda client, headers: client.get(path, headers=headers)


def _post(path: str, **body: object) -> Ask:
    return lambda client, headers: client.post(path, json=body, headers={**MCP, **headers})


_CALL = {"name": "server_time", "arguments": {}}
DOORS = (
    _get("/health"),
    _get("/tools"),
    _get("/media"),
    _get("/conversations?limit=1"),
    _get("/mcp/clients"),
    _get("/videos/a%0Ab"),
    _post("/tools/server_time"),
    _post("/tools/chat_completion", prompt="Hello"),
    _post("/tools/add_task", title="A task"),
    _post("/tools/generate_image", prompt="A hill", size="16x16"),
    _post("/mcp", jsonrpc="2.0", id=1, method="tools/list"),
    _post("/mcp", jsonrpc="2.0", id=1, method="tools/call", params=_CALL),
    _post("/chat", message="What is the current server time?"),
    _post("/chat", message="Hello", stream=True),
)


def resident_bytes(pid: int) -> int:
    """Returns the resident memory of a process, as Linux counts it."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def load(client: httpx2.AsyncClient, doors: tuple[Ask, ...], first: int, count: int) -> None:
    """Sends requests, each user a hundred, and counts answers that are errors of the server."""
    places = asyncio.Semaphore(AT_A_TIME)

    async def ask(number: int) -> int:
        async with places:
            user = {"X-User-Id": f"user-{number // REQUESTS_OF_A_USER}"}
            return (await doors[number % len(doors)](client, user)).status_code

    statuses = Counter(await asyncio.gather(*map(ask, range(first, first + count))))
    if failed := {status: times for status, times in statuses.items() if status >= 500}:
        print(f"           answers over 499: {failed}")


async def measure(
    name: str, settings: dict[str, str], project: Path, doors: tuple[Ask, ...]
) -> None:
    """Loads an app and prints its memory at the start, in the middle and at the end."""
    # Imported late: the library needs Python 3.13.
    from tests.worker.process import run_worker

    with run_worker(settings, project) as worker:
        async with worker.client(AUTH) as client:
            await load(client, doors, 0, WARM_UP)
            sizes = [resident_bytes(worker.pid)]
            for half in range(2):
                await load(client, doors, WARM_UP + half * REQUESTS // 2, REQUESTS // 2)
                sizes.append(resident_bytes(worker.pid))
        state = await worker.state()
    grown = [(after - before) / (REQUESTS / 2) for before, after in pairwise(sizes)]
    start, middle, end = (size / MEGABYTE for size in sizes)
    print(
        f"{name:10} start {start:6.1f} MB, middle {middle:6.1f} MB, end {end:6.1f} MB; "
        f"bytes per request: first half {grown[0]:5.0f}, second half {grown[1]:5.0f}; "
        f"kept by the library: {state['references']}, open invocations: {state['invocations']}"
    )


async def main() -> None:
    """Measures the project and the empty app."""
    if sys.version_info < (3, 13):
        print("Memory of the Functions worker is measured with Python 3.13 or later only.")
        return
    with ExitStack() as stack:
        stand_in = StandIn(stack.enter_context(ThreadServer(create_stand_in())).origin)
        stack.callback(stand_in.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        empty = folder / "empty"
        empty.mkdir()
        (empty / "function_app.py").write_text(EMPTY_APP)
        scopes = ["chat", "tools", "connections", "act-as"]
        settings = {
            "API_KEYS": json.dumps({"bench": {"sha256": digest(KEY), "scopes": scopes}}),
            "OPENAI_BASE_URL": stand_in.base_url,
            "OPENAI_API_KEY": "sk-bench",
            "LOCAL_STORAGE_PATH": str(folder / "storage"),
        }
        await measure("this app", settings, Path(__file__).parents[2], DOORS)
        await measure("empty app", {}, empty, DOORS[:1])


if __name__ == "__main__":
    asyncio.run(main())
