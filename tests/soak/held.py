"""What a worker holds at a moment when nobody calls it, and whether that grows without bound."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.worker.process import WorkerProcess

MEGABYTE = 1_000_000
ALLOWED = 10
"""Pools and caches fill up; a leak goes on."""
ALLOWED_MEGABYTES = 25.0


@dataclass(frozen=True)
class Held:
    """What a worker holds.

    Attributes:
        minute: When, from the start of the soak.
        calls: How many calls were made before.
        resident_mb: Its memory, in megabytes.
        peak_mb: The most that it ever had.
        sockets: Open sockets, those of the front included.
        files: Open files, sockets not counted.
        tasks: asyncio's tasks, by what they run.
        objects: Objects that the garbage collector knows, by type.
    """

    minute: float
    calls: int
    resident_mb: float
    peak_mb: float
    sockets: int
    files: int
    tasks: Counter[str]
    objects: Counter[str]

    def __str__(self) -> str:
        return (
            f"minute {self.minute:5.1f}  {self.calls:6} calls  {self.resident_mb:6.1f} MB "
            f"(peak {self.peak_mb:6.1f})  {self.sockets:3} sockets  {self.files:3} files  "
            f"{self.tasks.total():3} tasks  {self.objects.total():7} objects"
        )


async def look(worker: WorkerProcess, minute: float, calls: int) -> Held:
    """Returns what a worker holds."""
    held = await worker.held()
    status = _status(worker.pid)
    sockets, files = descriptors(worker.pid)
    return Held(
        minute=minute,
        calls=calls,
        resident_mb=status["VmRSS"],
        peak_mb=status["VmHWM"],
        sockets=sockets,
        files=files,
        tasks=Counter(held["tasks"]),
        objects=Counter(held["objects"]),
    )


def _status(pid: int) -> dict[str, float]:
    """Returns the megabytes that Linux tells of a process, by their names."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = (line.split(":", 1) for line in lines if line.endswith(" kB"))
    return {name: int(value.split()[0]) * 1024 / MEGABYTE for name, value in fields}


def descriptors(pid: int) -> tuple[int, int]:
    """Returns how many sockets and how many other files a process has open, as Linux counts them."""
    folder = Path(f"/proc/{pid}/fd")
    targets = []
    for descriptor in os.listdir(folder):
        try:
            targets.append(os.readlink(folder / descriptor))
        except FileNotFoundError:
            continue  # Closed since it was listed.
    sockets = sum(target.startswith("socket:") for target in targets)
    return sockets, len(targets) - sockets


def leaks(looks: Sequence[Held]) -> list[str]:
    """Returns a sentence for each thing that grew without bound.

    What counts is the least of the last third beside the most of the first: what goes up and down, or
    up once, is no leak.
    """
    third = max(1, len(looks) // 3)
    first, last = looks[:third], looks[-third:]
    found = []
    for name, allowed, count in (
        ("sockets", ALLOWED, lambda held: held.sockets),
        ("files", ALLOWED, lambda held: held.files),
        ("tasks", ALLOWED, lambda held: held.tasks.total()),
        ("megabytes", ALLOWED_MEGABYTES, lambda held: held.resident_mb),
    ):
        before, after = max(map(count, first)), min(map(count, last))
        if after > before + allowed:
            found.append(f"{name} grew from {before:g} to {after:g}")
    return found


def grown(before: Counter[str], after: Counter[str], count: int) -> list[tuple[str, int]]:
    """Returns what there is most more of."""
    return (after - before).most_common(count)
