"""Runs an unpacked package in the Functions worker library, in a process that has nothing else.

The process starts without ``site``: of what is installed it sees neither the virtual environment nor
anything else, only the package's ``.python_packages``, with the worker library in it, and of this
project `tests.worker.host`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.package import SITE_PACKAGES
from tests.worker.process import TIMEOUT_SECONDS, Lines

PROJECT = Path(__file__).parent.parent.parent
HARNESS = ("local", "tests/__init__.py", "tests/ports.py", "tests/worker")
COMPILED = "COMPILED "

_LAUNCHER = """
import runpy, sys
root, mark = sys.argv[1:]
ours = (f"{root}/local/", f"{root}/tests/")
def watch(event, arguments):
    # anyio parses a file of its own; what counts is what the import system compiles.
    if event == "compile" and "importlib" in sys._getframe(1).f_code.co_filename:
        name = str(arguments[1])
        if name.startswith(root) and not name.startswith(ours):
            sys.stderr.write(f"{mark}{name}\\n")
sys.addaudithook(watch)
runpy.run_module("tests.worker.host", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Artifact:
    """An unpacked package.

    Attributes:
        root: Where it lies.
    """

    root: Path


@dataclass(frozen=True)
class Running:
    """A package that serves.

    Attributes:
        origin: Where.
        report: What the host found: functions, errors, the files of ``shared`` and of the library.
        log: Whatever it writes.
    """

    origin: str
    report: dict[str, Any]
    log: Lines


def check_out(folder: Path, *, with_all_wheels: bool = True) -> Path:
    """Copies what git tracks, as it is now, into a repository of its own and returns that.

    Args:
        folder: Where it goes.
        with_all_wheels: Whether its package gets all wheels of the app, or one where none is imported.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, folder / name)
    if not with_all_wheels:
        lock = folder / "requirements.txt"
        (only,) = re.findall(
            r"^idna==(?:.*\\\n)+.*\n", lock.read_text(encoding="utf-8"), re.MULTILINE
        )
        lock.write_text(only, encoding="utf-8")
    author = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "All"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def unpack(archive: Path, folder: Path) -> Artifact:
    """Unpacks a package, and puts beside its files the host that is to load it."""
    root = folder / "wwwroot"
    with zipfile.ZipFile(archive) as package:
        package.extractall(root)
    for name in HARNESS:
        source, target = PROJECT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return Artifact(root)


@contextmanager
def running(artifact: Artifact, settings: dict[str, str]) -> Iterator[Running]:
    """Runs the package with these app settings.

    Raises:
        AssertionError: It did not come up; the message says why.
    """
    path = (artifact.root / SITE_PACKAGES, artifact.root)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        **settings,
    }
    with subprocess.Popen(
        [sys.executable, "-S", "-B", "-c", _LAUNCHER, str(artifact.root), COMPILED],
        cwd=artifact.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        report, log = Lines(process.stdout), Lines(process.stderr)
        try:
            line = report.first(lambda line: True)
            assert line, f"The host did not come up:\n{log}"
            document = json.loads(line)
            assert document["errors"] == [], "\n".join(document["errors"])
            yield Running(document["origin"], document, log)
        finally:
            process.terminate()
            process.wait(TIMEOUT_SECONDS)
            report.join()
            log.join()
