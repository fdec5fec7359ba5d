"""Lock files: everything that is installed is what was locked, wherever it comes from."""

import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from infra.package import PackageError, requirements_of_the_runtime

PROJECT = Path(__file__).parent.parent.parent
LOCKS = sorted(
    path
    for path in (
        *PROJECT.glob("requirements*.txt"),
        *PROJECT.glob("local/requirements*.txt"),
        *PROJECT.glob("infra/**/*requirements*.txt"),
        *PROJECT.glob("tests/**/*requirements*.txt"),
    )
)
RUNTIME = "azure-functions-runtime"


def name(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def entries(lock: Path) -> list[str]:
    """Returns the requirements of a lock file, each with its hashes on one line."""
    lines = lock.read_text().replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def test_lock_files_are_found() -> None:
    assert {name(lock) for lock in LOCKS} == {
        "infra/pipelines/audit-requirements.txt",
        "infra/pipelines/az-requirements.txt",
        "local/requirements.txt",
        "requirements-dev.txt",
        "requirements.txt",
        "tests/bench/peers-requirements.txt",
        "tests/mcp/sdk1/requirements.txt",
        "tests/v1/clients/requirements.txt",
    }


@pytest.mark.parametrize("lock", LOCKS, ids=name)
def test_every_requirement_is_pinned_with_its_hashes(lock: Path) -> None:
    for entry in entries(lock):
        requirement, *hashes = entry.split("--hash=")
        assert re.fullmatch(r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==\S+( ; .+)?", requirement.strip())
        assert hashes, entry
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each.strip()) for each in hashes)


@pytest.mark.parametrize("lock", LOCKS, ids=name)
def test_lock_names_no_package_index(lock: Path) -> None:
    assert re.findall(r"https?:|file:|--(?:index|extra-index|find-links)", lock.read_text()) == []


@pytest.mark.parametrize(
    "path",
    [PROJECT / "Makefile", PROJECT / "infra/package.py", *PROJECT.glob("infra/pipelines/*.yml")],
    ids=name,
)
def test_every_installation_requires_hashes(path: Path) -> None:
    text = path.read_text()
    installations = len(re.findall(r'\bpip"?,? "?install\b', text))
    assert (
        text.count("--require-hashes") - text.count("pip_audit --require-hashes") == installations
    )


def test_requirement_without_a_hash_is_refused() -> None:
    lock = "idna==3.20 \\\n    --hash=sha256:00\n    # via anyio\nanyio==4.16.0\n"
    with pytest.raises(PackageError, match="no hash for anyio"):
        list(requirements_of_the_runtime(lock))


def test_worker_runtime_is_in_the_package_and_is_the_one_that_tests_run() -> None:
    lock = (PROJECT / "requirements.txt").read_text()
    (line,) = [
        each for each in requirements_of_the_runtime(lock) if each.startswith(f"{RUNTIME}==")
    ]
    if sys.version_info >= (3, 13):
        assert line.split()[0] == f"{RUNTIME}=={version(RUNTIME)}"
    assert RUNTIME not in (PROJECT / "requirements-dev.txt").read_text()
