"""`python -m local` with a Python that has nothing but itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent
BARE_PYTHON = Path(sys.base_prefix) / "bin/python3"
"""A Python without the packages of the app."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose app only says where it runs, and which needs no packages."""
    (tmp_path / "local").mkdir()
    for name in ("__init__.py", "__main__.py", "installation.py"):
        shutil.copy(PROJECT / "local" / name, tmp_path / "local" / name)
    (tmp_path / "local/cli.py").write_text(
        "import sys\ndef main():\n    print('runs in', sys.prefix, sys.argv[1:])\n    return 3\n"
    )
    for name in ("requirements.txt", "local/requirements.txt"):
        (tmp_path / name).write_text("")
    return tmp_path


def run(project: Path, python: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "local", "--port", "0"],
        cwd=project,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )


def test_first_start_installs_into_venv_and_runs_there_and_the_second_only_runs(
    project: Path,
) -> None:
    first = run(project, BARE_PYTHON)
    assert (first.returncode, first.stdout) == (
        3,
        f"runs in {project / '.venv'} ['--port', '0']\n",
    )
    assert "Installing" in first.stderr
    second = run(project, BARE_PYTHON)
    assert (second.returncode, second.stdout, second.stderr) == (3, first.stdout, "")
    older = (project / "requirements.txt").stat().st_mtime - 1
    os.utime(project / ".venv/.run", (older, older))
    assert "Installing" in run(project, BARE_PYTHON).stderr
    # The Makefile has nothing left to install either. `make test VENV=...` hands its variables on
    # in the environment, which is why this make gets one of its own.
    shutil.copy(PROJECT / "Makefile", project)
    done = subprocess.run(
        ["make", "-n", "run"],
        cwd=project,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install" not in done.stdout


def test_installation_that_fails_ends_with_its_reason(project: Path) -> None:
    (project / "requirements.txt").write_text("not a requirement\n")
    done = run(project, BARE_PYTHON)
    assert done.returncode == 1
    assert "Invalid requirement" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / ".venv/.run").exists()


def test_environment_that_is_not_ours_is_left_alone(project: Path) -> None:
    subprocess.run([BARE_PYTHON, "-m", "venv", "--without-pip", project / "theirs"], check=True)
    done = run(project, project / "theirs/bin/python")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{project / 'theirs'} lacks packages of the app.")
    assert "-r requirements.txt -r local/requirements.txt" in done.stderr
    assert not (project / ".venv").exists()
