"""No test may hang: each ends at a limit, by its name, and so does each wait inside one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import block_until, until

PROJECT = Path(__file__).parents[1]
HANGING = {
    "yields": "while True: await asyncio.sleep(0)",
    "spins": "while True: pass",
    "sleeps": "await asyncio.Event().wait()",
    "loses the first signal": "asyncio.get_running_loop().call_soon(time.sleep, 3)\n"
    "    await asyncio.Event().wait()",
}
TEST = """
import asyncio, time

async def test_that_hangs():
    {body}

def test_after_it():
    assert True
"""


@pytest.mark.parametrize("kind", HANGING)
def test_test_that_hangs_fails_by_its_name_and_the_next_one_runs(tmp_path: Path, kind: str) -> None:
    (tmp_path / "test_hanging.py").write_text(TEST.format(body=HANGING[kind]))
    command = [sys.executable, "-m", "pytest", "-c", str(PROJECT / "pyproject.toml")]
    command += ["--rootdir", str(tmp_path), "-o", "timeout=2", "-p", "no:cacheprovider"]
    finished = subprocess.run(
        [*command, "-p", "tests.time_limits", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    output = finished.stdout + finished.stderr
    assert "::test_that_hangs" in output, output
    assert "Timeout (>2.0s) from pytest-timeout" in output, output
    assert "1 failed, 1 passed" in output, output


async def test_wait_for_what_never_comes_shows_what_it_saw_last() -> None:
    async def look() -> str:
        return "still queued"

    with pytest.raises(AssertionError, match="still queued"):
        await until(look, lambda seen: seen == "done", seconds=0.05)
    with pytest.raises(AssertionError, match="still queued"):
        block_until(lambda: "still queued", lambda seen: seen == "done", seconds=0.05)


async def test_wait_returns_what_it_accepted() -> None:
    numbers = iter(range(5))
    assert await until(lambda: next(numbers), lambda number: number == 3) == 3
    assert block_until(lambda: next(numbers)) == 4
