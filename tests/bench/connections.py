"""What a connection adds to a tool call, and what connections leave behind; judges nothing."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from time import perf_counter

import httpx2
from mcp import Client

from tests.bench.latency import measure
from tests.bench.video_memory import resident_megabytes
from tests.conftest import AUTH, KEY
from tests.connections import foreign
from tests.mcp.support import process_environment
from tests.media.app_process import AppProcess, running
from tests.soak.held import descriptors

WARM_UP = 100
PAIRED_CALLS = 1000
CALLS = 10_000
CALLERS = 8
RECONNECTS = 500
ARGUMENTS = {"a": 2, "b": 3}


@dataclass
class Caller:
    """Somebody who connects to servers through the app."""

    http: httpx2.AsyncClient

    async def connect(self, url: str, transport: str) -> str:
        """Returns the id of a new connection."""
        body = {"mcp_url": url, "transport": transport}
        response = await self.http.post("/mcp/connect", json=body)
        client_id: str = response.raise_for_status().json()["client_id"]
        return client_id

    async def disconnect(self, client_id: str) -> None:
        """Ends a connection."""
        body = {"client_id": client_id}
        (await self.http.post("/mcp/disconnect", json=body)).raise_for_status()

    async def call(self, client_id: str) -> None:
        """Calls the tool."""
        body = {"client_id": client_id, "tool_name": "add", "arguments": ARGUMENTS}
        answer = (await self.http.post("/mcp/call_tool", json=body)).raise_for_status().json()
        if answer["result"] != {"result": 5}:
            raise RuntimeError(f"The tool answered {answer}.")


async def repeat(times: int, work: Callable[[], Awaitable[object]]) -> None:
    """Does something so many times, a few at once."""
    remaining = iter(range(times))

    async def worker() -> None:
        for _ in remaining:
            await work()

    await asyncio.gather(*(worker() for _ in range(CALLERS)))


def held(app: AppProcess) -> str:
    """Returns what the app's process holds, as Linux counts it."""
    sockets, files = descriptors(app.pid)
    return (
        f"{sockets:3} sockets of {sockets + files:3} descriptors, {resident_megabytes(app):6.1f} MB"
    )


async def repeat_and_look(
    app: AppProcess, name: str, times: int, work: Callable[[], Awaitable[object]]
) -> None:
    """Repeats something and prints what the app holds before, halfway and after."""
    await repeat(WARM_UP, work)
    print(f"{f'before {times} {name}':45} {held(app)}")
    started = perf_counter()
    await repeat(times // 2, work)
    print(f"{'halfway':45} {held(app)}")
    await repeat(times - times // 2, work)
    rate = times / (perf_counter() - started)
    print(f"{'after':45} {held(app)}   {rate:.0f} per second")


async def main() -> None:
    """Runs all measurements."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        settings = process_environment(
            MCP_API_KEY=KEY,
            LOCAL_STORAGE_PATH=folder,
            CONNECTIONS_ALLOW_PRIVATE_NETWORKS="true",
            LOG_LEVEL="warning",
        )
        app = stack.enter_context(running(settings))
        url = stack.enter_context(foreign.running("sdk2", "http"))
        async with AsyncExitStack() as clients:
            bare = await clients.enter_async_context(Client(url))
            http = httpx2.AsyncClient(base_url=app.origin, headers=AUTH, timeout=60)
            caller = Caller(await clients.enter_async_context(http))
            client_id = await caller.connect(url, "http")

            async def directly() -> None:
                await bare.call_tool("add", ARGUMENTS)

            async def through_the_app() -> None:
                await caller.call(client_id)

            for _ in range(WARM_UP):
                await directly()
                await through_the_app()
            await measure(
                {"bare SDK client": directly, "POST /mcp/call_tool": through_the_app}, PAIRED_CALLS
            )
            await repeat_and_look(app, "calls of one connection", CALLS, through_the_app)
            for sdk, transport in (("sdk2", "http"), ("sdk1", "http"), ("sdk1", "sse")):
                other = stack.enter_context(foreign.running(sdk, transport))

                async def reconnect(other: str = other, transport: str = transport) -> None:
                    await caller.disconnect(await caller.connect(other, transport))

                name = f"connects and disconnects, {sdk} {transport}"
                await repeat_and_look(app, name, RECONNECTS, reconnect)


if __name__ == "__main__":
    asyncio.run(main())
