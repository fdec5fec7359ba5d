"""`python -m local` in a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent


class App:
    """A running ``python -m local`` and what it printed before it served."""

    def __init__(self, port: int, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local", "--port", str(port)],
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"], **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("curl") and ("/tools/" in line or "/health" in line):
                break
        self.banner = "".join(lines)
        if not lines:
            pytest.fail(f"python -m local did not start: {self.process.communicate()[1]}")

    def stop(self, number: signal.Signals = signal.SIGINT) -> str:
        """Ends it and returns what it wrote to standard error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return errors
