"""A Chromium for the tests of the page: the system's, else that of the tests' npm packages."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.node import NODE, installed

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
PACKAGE = "@sparticuz/chromium"
HELP = (
    "The tests of the page need Chromium or Chrome, and found none. Install it (Debian, Ubuntu: apt-get "
    "install chromium; macOS: brew install --cask google-chrome), or set CHROMIUM to the path of one."
)

_UNPACK = """
import { brotliDecompressSync } from "node:zlib";
import { readFileSync, writeFileSync } from "node:fs";
const [from, to] = process.argv.slice(1);
writeFileSync(to, brotliDecompressSync(readFileSync(from)), { mode: 0o755 });
"""


def find_chromium() -> tuple[str, dict[str, str]]:
    """Returns the path of a Chromium and the environment that it needs.

    Fails the test where there is none: a run without a browser must not look like one with it.
    """
    if named := os.environ.get("CHROMIUM"):
        if not Path(named).is_file():
            pytest.fail(f"CHROMIUM is {named}, which is no file. {HELP}")
        return named, {}
    found = next(_system(), None)
    if found:
        return found, {}
    if sys.platform == "linux" and platform.machine() == "x86_64":
        return _from_package()
    pytest.fail(HELP)


def _system() -> Iterator[str]:
    yield from filter(None, map(shutil.which, COMMANDS))
    yield from (place for place in PLACES if Path(place).is_file())


def _from_package() -> tuple[str, dict[str, str]]:
    """Unpacks the Chromium of the npm package, with the libraries that a bare system lacks."""
    packed = installed(f"{PACKAGE}/bin/chromium.br").parent
    folder = packed.parent / ".unpacked"
    with FileLock(packed.parent / ".unpacked.lock"):
        if not folder.exists():
            making = folder.with_suffix(f".{os.getpid()}")
            making.mkdir()
            _unpack(packed / "chromium.br", making / "chromium")
            _unpack(packed / "al2023.tar.br", making / "libraries.tar")
            shutil.unpack_archive(making / "libraries.tar", making, filter="data")
            making.rename(folder)
    return str(folder / "chromium"), {"LD_LIBRARY_PATH": str(folder / "lib")}


def _unpack(packed: Path, unpacked: Path) -> None:
    command = [NODE, "--input-type=module", "--eval", _UNPACK, str(packed), str(unpacked)]
    subprocess.run(command, check=True, timeout=120)
