"""How much memory a 100 MB video takes on its way into storage; prints, and judges nothing."""

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path

import httpx2

from local.stand_in import VIDEO_MODEL, create_stand_in
from tests.conftest import AUTH, KEY, StandIn, ThreadServer
from tests.media.app_process import AppProcess, running
from tests.ports import free_port
from tests.storage import azurite

MEGABYTE = 1_000_000
SIZE = 100 * MEGABYTE


def resident_megabytes(app: AppProcess) -> float:
    """Returns the resident memory of the app's process, as Linux counts it."""
    pages = int(Path(f"/proc/{app.pid}/statm").read_text().split()[1])
    return pages * 4096 / MEGABYTE


async def copy(client: httpx2.AsyncClient) -> int:
    """Orders a video, waits for it, and returns the bytes that were stored."""
    job = (await client.post("/tools/generate_video", json={"prompt": "A hill"})).json()
    while job["status"] != "completed":
        response = await client.get(f"/videos/{job['id']}")
        response.raise_for_status()
        job = response.json()
    size: int = job["media"]["size_bytes"]
    return size


async def measure(name: str, environment: dict[str, str], stand_in: StandIn) -> None:
    """Copies a small video, then a large one, and prints what the large one took."""
    with running(environment) as app:
        async with httpx2.AsyncClient(base_url=app.origin, headers=AUTH, timeout=120) as client:
            await copy(client)
            before = peak = resident_megabytes(app)
            stand_in.fault(bytes=SIZE)
            copying = asyncio.create_task(copy(client))
            while not copying.done():
                await asyncio.sleep(0.01)
                peak = max(peak, resident_megabytes(app))
            print(
                f"{name:10} {await copying / MEGABYTE:6.0f} MB copied, resident before "
                f"{before:5.1f} MB, peak {peak:5.1f} MB, growth {peak - before:5.1f} MB"
            )


async def main() -> None:
    """Measures both kinds of storage."""
    with ExitStack() as stack:
        stand_in = StandIn(stack.enter_context(ThreadServer(create_stand_in())).origin)
        stack.callback(stand_in.close)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        port = free_port()
        stack.enter_context(azurite.running(port))
        settings = {
            "MCP_API_KEY": KEY,
            "OPENAI_BASE_URL": stand_in.base_url,
            "OPENAI_VIDEO_MODEL": VIDEO_MODEL,
        }
        await measure("folder", {**settings, "LOCAL_STORAGE_PATH": folder}, stand_in)
        blob = {"AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string(port)}
        await measure("Azurite", {**settings, **blob}, stand_in)


if __name__ == "__main__":
    asyncio.run(main())
