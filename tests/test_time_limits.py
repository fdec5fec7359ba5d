"""No test may hang: each ends at a limit, by its name, and so does each wait inside one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import block_until, until

PROJECT = Path(__file__).parents[1]
HANGING = """
import asyncio, pytest

@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"

async def test_that_yields_for_ever():
    while True:
        await asyncio.sleep(0)

async def test_that_spins_for_ever():
    while True:
        pass

async def test_that_sleeps_for_ever():
    await asyncio.Event().wait()

def test_that_blocks_for_ever():
    while True:
        pass

async def test_after_them():
    await asyncio.sleep(0)
"""


def test_every_test_has_a_limit(request: pytest.FixtureRequest) -> None:
    assert 0 < float(request.config.getini("timeout")) <= 300


def test_test_that_hangs_fails_by_its_name_and_the_next_one_runs(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    command = [sys.executable, "-m", "pytest", "-c", str(PROJECT / "pyproject.toml")]
    command += ["--rootdir", str(tmp_path), "-o", "timeout=0.5", "-p", "no:cacheprovider"]
    finished = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    output = finished.stdout + finished.stderr
    for kind in ("yields", "spins", "sleeps", "blocks"):
        assert f"::test_that_{kind}_for_ever - Failed: Timeout" in output, output
    assert "4 failed, 1 passed" in output, output


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
