"""Files and folders that nobody but the app's own user can read, whatever the umask."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def make_private_folder(folder: Path) -> None:
    """Makes a folder, and those above it that are missing."""
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for each in reversed(missing):
        with suppress(FileExistsError):
            each.mkdir(FOLDER_MODE)


def private_opener(path: str, flags: int) -> int:
    """Opens a file for `open`, and makes it private where it is new."""
    return os.open(path, flags, FILE_MODE)


def tighten(root: Path, parts: Iterable[str]) -> None:
    """Takes the rights of others away from what an earlier version of the app has written.

    Args:
        root: Folder of all that is stored; where it is private already, so is what is in it.
        parts: Names in it that are the app's.
    """
    # On Windows modes say nothing: rights are inherited there.
    if os.name == "nt" or not root.is_dir() or not root.stat().st_mode & 0o077:
        return
    for part in parts:
        for path in [root / part, *(root / part).rglob("*")]:
            _restrict(path)
    # Last, so that a process that dies before goes on at the next start.
    _restrict(root)


def _restrict(path: Path) -> None:
    # Another user's file, or one that has just been deleted, is left as it is.
    with suppress(OSError):
        path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)
