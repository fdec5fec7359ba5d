"""Programs in place of ``az``, ``azd`` and ``func`` that note what they are asked."""

import os
import sys
from pathlib import Path

_RECORDER = """#!/bin/sh
name=$(basename "$0")
echo "$name $*" >> "{folder}/calls"
"""

_AZ = """
case "$*" in
  "account show"*) [ ! -e "{folder}/signed-out" ] ;;
  "functionapp deployment"*)
    if [ -e "{folder}/upload-fails" ]; then rm "{folder}/upload-fails"; exit 1; fi
    while [ "$1" != --src ]; do shift; done
    cp "$2" "{folder}/deployed.zip"
    [ ! -e "{folder}/upload-is-done-and-fails" ] ;;
esac
"""

_AZD = """
[ "$1 $2" = "env set" ] && printf '%s=%s\\n' "$3" "$4" >> "{folder}/azd.env"
"""

_PYTHON = """#!/bin/sh
# Is Python 3.13 for whoever asks.
case "$1 $2" in "-c import sys; sys.exit(sys.version_info[:2] != (3, 13))") exit 0 ;; esac
exec "{python}" "$@"
"""


class Recorders:
    """A folder of programs that take the place of Azure's.

    Args:
        folder: Where to write them and what they note.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir(parents=True)
        for name, more in {"az": _AZ, "azd": _AZD, "func": ""}.items():
            self.write(name, (_RECORDER + more).format(folder=folder))
        self.python = self.write("a-python", _PYTHON.format(python=sys.executable))

    def write(self, name: str, text: str) -> Path:
        """Writes one more program."""
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def put(self, name: str) -> None:
        """Makes the file that tells a program to fail."""
        (self.folder / name).touch()

    @property
    def deployed(self) -> Path:
        """The package that was uploaded last."""
        return self.folder / "deployed.zip"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a hook: the system's path, and what ``azd env set`` has set."""
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "HOME": os.environ.get("HOME", "/"), **self.azd()}

    def azd(self) -> dict[str, str]:
        """Returns what ``azd env set`` has set."""
        path = self.folder / "azd.env"
        lines = path.read_text().splitlines() if path.exists() else []
        return dict(line.split("=", 1) for line in lines)

    def calls(self, program: str = "") -> list[str]:
        """Returns the calls of a program, or of all, and forgets them."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line for line in lines if line.startswith(f"{program} ".lstrip())]
