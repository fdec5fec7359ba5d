"""Half an hour of everything at once in the real Functions worker, on Azurite: what it leaves behind.

    make soak VENV=.venv-deployed PYTHON=python3.13 [SOAK_MINUTES=30] [SOAK_OPTIONS="--rate 8"]

Users call all doors, in parallel, and some leave in the middle of a stream. At the start, every five
minutes and at the end they pause until what they began has ended, and memory, sockets, files and
asyncio's tasks of the worker are counted. The exit code is 1 where one of these grew without bound or a
call went wrong. Two kinds of calls go past the app, to storage and to the provider: where they become
slower, so did the machine.

Azurite runs without its garbage collection, which would block it from the tenth minute on.
"""

import argparse
import asyncio
import json
import random
import sys
from contextlib import ExitStack
from pathlib import Path

from local.stand_in import VIDEO_MODEL
from tests.bench.latency import running
from tests.conftest import KEY, digest
from tests.connections import foreign
from tests.ports import free_port
from tests.soak.held import Held, grown, leaks
from tests.soak.load import Load
from tests.soak.report import print_errors, print_times
from tests.storage import azurite as azurite_process
from tests.storage.azurite import blob_settings
from tests.worker.process import WorkerProcess, run_worker

SCOPES = ["chat", "tools", "connections", "openai", "act-as", "admin"]
LOOK_MINUTES = 5.0
WARM_UP_MINUTES = 1.0
MOST_GROWN = 8


async def soak(load: Load, minutes: float) -> list[Held]:
    """Has users call for so long, and returns what the worker held at each look."""
    async with load.calling():
        await asyncio.sleep(WARM_UP_MINUTES * 60)
        load.start()
        looks = [await load.look()]
        while load.minute < minutes:
            pause = min(LOOK_MINUTES, minutes - load.minute)
            await asyncio.sleep(pause * 60)
            looks.append(await load.look())
    return looks


def report(load: Load, looks: list[Held], minutes: float) -> bool:
    """Prints what was found, and says whether it is as it has to be."""
    print_times(load.times, min(LOOK_MINUTES, minutes / 2), minutes)
    wrong = print_errors(load.errors)
    tasks = grown(looks[0].tasks, looks[-1].tasks, MOST_GROWN)
    objects = grown(looks[0].objects, looks[-1].objects, MOST_GROWN)
    print(f"more tasks at the end: {dict(tasks)}")
    print(f"more objects at the end: {dict(objects)}")
    found = leaks(looks)
    for sentence in found:
        print(f"LEAK: {sentence}")
    return not (wrong or found)


def main() -> None:
    """Runs it as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=8, help="calls per second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="where to write what the worker logged")
    options = parser.parse_args()
    if sys.version_info < (3, 13):
        sys.exit(
            "The Functions worker library needs Python 3.13 or later. Run: "
            "make soak VENV=.venv-deployed PYTHON=python3.13"
        )
    with ExitStack() as stack:
        provider = stack.enter_context(running("stand-in", pattern=r"OPENAI_BASE_URL=(\S+)"))
        port = free_port()
        stack.enter_context(azurite_process.running(port, collects_garbage=False))
        storage = azurite_process.connection_string(port)
        tool_server = stack.enter_context(foreign.running("sdk2", "http"))
        settings = blob_settings(storage) | {
            "API_KEYS": json.dumps({"soak": {"sha256": digest(KEY), "scopes": SCOPES}}),
            "OPENAI_BASE_URL": provider,
            "OPENAI_API_KEY": "sk-soak",
            "OPENAI_VIDEO_MODEL": VIDEO_MODEL,
            "CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true",
        }
        worker: WorkerProcess = stack.enter_context(run_worker(settings))
        load = Load(
            worker, provider, storage, tool_server, options.rate, random.Random(options.seed)
        )
        try:
            looks = asyncio.run(soak(load, options.minutes))
        finally:
            if options.log:
                options.log.write_text(str(worker.log))
        sys.exit(0 if report(load, looks, options.minutes) else 1)


if __name__ == "__main__":
    main()
