"""What a run of the tests leaves out, and why: it never does so in silence.

Workers collect the tests, and only the process that started them writes: they send it their notes.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

_LEFT_OUT: set[str] = set()
_KEY = "left_out"


def leave_out(what: str, reason: str) -> None:
    """Notes that something is left out."""
    _LEFT_OUT.add(f"{what} left out: {reason}")


class Selection:
    """The plugin that writes at the end of a run what it left out."""

    def __init__(self) -> None:
        self._deselected: Counter[str] = Counter()
        self._received: set[str] = set()

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Counts tests that -m deselects; who names tests with -k knows what is left out."""
        if items and items[0].config.option.markexpr:
            self._deselected.update(item.nodeid.partition("::")[0] for item in items)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hands a worker's notes to the process that started it."""
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            output[_KEY] = sorted(self._lines())

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Takes a worker's notes."""
        self._received.update(getattr(node, "workeroutput", {}).get(_KEY, ()))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Writes all notes."""
        for line in sorted(self._lines() | self._received):
            terminalreporter.write_line(line)

    def _lines(self) -> set[str]:
        deselected = {f"{file}: {count} left out by -m" for file, count in self._deselected.items()}
        return _LEFT_OUT | deselected


def once_in_a_run(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """Returns a folder that one worker makes for all workers of a run."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / name
    with FileLock(base / f"{name}.lock"):
        if not folder.exists():
            making = base / f"{name}.{os.getpid()}"
            make(making)
            making.rename(folder)
    return folder
