"""The official suite for servers against the app, and against the suite's tools behind our endpoint."""

import asyncio
import re
import sys

import pytest

from tests.conformance.server import TASK_SCENARIOS
from tests.mcp.support import PROJECT
from tests.node import installed

SCENARIO = re.compile(r"^([✓✗]) (\S+): (\d+) passed, (\d+) failed$", re.MULTILINE)
REQUIRED = re.compile(r"^server:\n((?:  - .*\n)+)", re.MULTILINE)


async def run(target: str, revision: str) -> str:
    """Runs the suite, in which nothing may fail that is not expected to, and returns what it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.conformance.server", target, revision),
        cwd=PROJECT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    written, _ = await process.communicate()
    output = written.decode()
    # Anything that fails and is not expected to, or passes though it is expected to fail.
    assert process.returncode == 0, output
    return output


async def scenarios(target: str, revision: str) -> dict[str, bool]:
    """Runs the suite and returns what the revision requires, and whether that has no failure."""
    output = await run(target, revision)
    passed = {name: mark == "✓" for mark, name, _, _ in SCENARIO.findall(output)}
    requirements = installed(f"@modelcontextprotocol/conformance/requirements/{revision}.yaml")
    listed = REQUIRED.search(requirements.read_text())
    assert listed
    return {name: passed[name] for name in re.findall(r"- (\S+)", listed.group(1))}


@pytest.mark.any_python
@pytest.mark.parametrize(
    ("revision", "passing", "required"), [("2026-07-28", 37, 37), ("2025-11-25", 26, 30)]
)
async def test_endpoint_does_what_the_suite_wants_of_stateless_servers(
    revision: str, passing: int, required: int
) -> None:
    found = await scenarios("fixture", revision)
    assert (sum(found.values()), len(found)) == (passing, required)


@pytest.mark.any_python
@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
async def test_app_fails_only_where_the_suite_wants_tools_of_its_own(revision: str) -> None:
    found = await scenarios("app", revision)
    assert found["tools-list"]


@pytest.mark.any_python
async def test_tasks_are_as_the_suite_wants_those_of_the_extension() -> None:
    output = await run("tasks", "2026-07-28")
    checked = re.findall(r"^Passed: (\d+)/\1, 0 failed, 0 warnings$", output, re.MULTILINE)
    assert len(checked) == len(TASK_SCENARIOS)
    assert sum(map(int, checked)) >= 35
