"""Installs what the app needs, for whoever has Python and nothing else; imports nothing but that."""

import importlib.util
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

PROJECT = Path(__file__).resolve().parent.parent

_REQUIREMENTS = ("requirements.txt", "local/requirements.txt")
_NEEDED = ("azure.functions", "fastapi", "filelock", "mcp", "openai", "uvicorn")
"""Some of the packages; where these are, all of them were installed."""


def ensure_installed(project: Path = PROJECT) -> None:
    """Makes sure that this process has the packages, or runs the command again in one that has.

    Packages go into ``.venv``, as ``make run`` puts them there. Other environments are left alone.

    Args:
        project: Folder of the project.

    Raises:
        SystemExit: Python is too old, or an environment that is not ours lacks packages, which the
            message says; or the command has run in another process.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - for whoever starts it with an older Python
        sys.exit(f"Python 3.11 or later is needed; this is {sys.version.split()[0]}.")
    if _has_packages():
        return
    environment = project / ".venv"
    is_ours = Path(sys.prefix).resolve() == environment.resolve()
    if sys.prefix != sys.base_prefix and not is_ours:
        files = " ".join(f"-r {name}" for name in _REQUIREMENTS)
        sys.exit(
            f"{sys.prefix} lacks packages of the app. Leave this environment, or install them: "
            f"python -m pip install --require-hashes {files}"
        )
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not _is_up_to_date(project, environment):
        _install(project, environment, python)
    if not is_ours:
        _run_again(python)


def _has_packages() -> bool:
    # The name of a package in another one raises where that is missing.
    with suppress(ModuleNotFoundError):
        return all(importlib.util.find_spec(name) for name in _NEEDED)
    return False


def _is_up_to_date(project: Path, environment: Path) -> bool:
    """Returns whether the packages were installed after the lists of them were written."""
    stamp = environment / ".run"
    return stamp.exists() and all(
        stamp.stat().st_mtime >= (project / name).stat().st_mtime for name in _REQUIREMENTS
    )


def _install(project: Path, environment: Path, python: Path) -> None:
    sys.stderr.write("Installing what the app needs into .venv, which takes up to a minute ...\n")
    made = environment / ".venv"
    if not made.exists():
        _call([sys.executable, "-m", "venv", str(environment)])
        made.touch()
    files = [part for name in _REQUIREMENTS for part in ("-r", str(project / name))]
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    _call([*pip, "--require-hashes", *files])
    # The Makefile looks at the same two files.
    (environment / ".run").touch()


def _call(command: list[str]) -> None:
    # Both say themselves why they failed.
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - no input of others
    if status:
        sys.exit(status)


def _run_again(python: Path) -> NoReturn:
    command = [str(python), "-m", "local", *sys.argv[1:]]
    if os.name != "nt":
        os.execv(command[0], command)  # noqa: S606 - no shell is needed
    # On Windows that would be a second process, for which the console does not wait.
    with subprocess.Popen(command) as process:  # noqa: S603 - no input of others
        while True:
            # Ctrl-C reaches both; the app ends in its own time.
            with suppress(KeyboardInterrupt):
                sys.exit(process.wait())
