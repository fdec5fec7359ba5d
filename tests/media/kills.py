"""Kills an app after each of its writes in turn, and lets a test look at what is left."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from threading import Event
from typing import Any

import httpx2

from tests.conftest import KEY, digest
from tests.media.app_process import running
from tests.media.gate import gate_before
from tests.waiting import until

LEASE_PAUSE = 0.5
"""Seconds between two requests that wait for the lease of a killed app, two seconds: each of them costs
three processes time."""

Drive = Callable[[httpx2.AsyncClient], Awaitable[Any]]
"""Does everything that a caller does until it is done."""


async def kill_after_every_write(
    azurite: str,
    settings: Mapping[str, str],
    headers: Mapping[str, str],
    drive: Drive,
    check: Callable[[httpx2.AsyncClient], Awaitable[None]],
    folder: str = "",
    most: int = 1000,
) -> int:
    """Kills the app after its first write, in another round after its second, and so on.

    Args:
        azurite: Connection string of the storage.
        settings: Of the app, with containers of its own.
        headers: What the caller sends.
        drive: What the app is killed in.
        check: Looks at what another app makes of it.
        folder: What stands in the paths of the writes that count.
        most: Rounds at most, where how many writes there are depends on how fast the machine is.

    Returns:
        How many rounds there were; in the last one nothing was killed.
    """
    key = {"sha256": digest(KEY), "scopes": ["chat", "tools", "act-as"]}
    with gate_before(azurite, folder) as (gate, connection_string), ExitStack() as stack:
        all_settings = {
            **settings,
            "MCP_API_KEY": "",
            "API_KEYS": json.dumps({"tests": key}),
            "LOCAL_STORAGE_PATH": "",
            "AZURE_STORAGE_CONNECTION_STRING": connection_string,
        }
        app = stack.enter_context(running(all_settings))
        for number in range(1, most + 1):
            # Every user begins with an empty store, so that one app can serve the next round too.
            user = {**headers, "X-User-Id": f"user-{number}"}
            gate.stop_after(number)
            if not await _drive_until(gate.reached, _client(app.origin, user), drive):
                return number
            app.kill()
            gate.release()
            app = stack.enter_context(running(all_settings))
            async with _client(app.origin, user) as client:
                await check(client)
    return most


def _client(origin: str, headers: Mapping[str, str]) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=origin, headers=headers, timeout=60)


async def _drive_until(reached: Event, client: httpx2.AsyncClient, drive: Drive) -> bool:
    """Drives until the gate holds an answer back, and says whether it ever did."""
    async with client:
        driving = asyncio.ensure_future(drive(client))
        await until(lambda: driving.done() or reached.is_set())
        if not reached.is_set():
            await driving
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)
    return reached.is_set()
