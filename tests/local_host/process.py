"""`python -m local` in a process of its own."""

import signal
import subprocess
from threading import Thread

import pytest

from tests.warm import WarmProcess, cold_process


class App:
    """A running ``python -m local`` and what it printed before it served.

    Args:
        port: Where it serves.
        environment: Its settings.
        is_cold: Whether Python itself starts too, which costs seconds.
    """

    def __init__(self, port: int, environment: dict[str, str], *, is_cold: bool = False) -> None:
        arguments = ["-m", "local", "--port", str(port)]
        self.process: subprocess.Popen[str] | WarmProcess
        if is_cold:
            self.process = cold_process(arguments, environment)
        else:
            self.process = WarmProcess(arguments, environment)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        # A pipe that nobody reads is full after a few hundred lines of the log, and stops the app.
        self._errors: list[str] = []
        self._readers = [Thread(target=self._errors.extend, args=(self.process.stderr,))]
        self._readers[0].start()
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("curl") and ("/tools/" in line or "/health" in line):
                break
        self.banner = "".join(lines)
        self._readers.append(Thread(target=self.process.stdout.read))
        self._readers[1].start()
        if not lines:
            pytest.fail(f"python -m local did not start: {self._ended()}")

    def stop(self, number: signal.Signals = signal.SIGINT) -> str:
        """Ends it and returns what it wrote to standard error."""
        self.process.send_signal(number)
        return self._ended()

    def _ended(self) -> str:
        self.process.wait(timeout=60)
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return "".join(self._errors)
