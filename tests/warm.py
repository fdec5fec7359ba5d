"""Python programs of this project in processes of their own that need not import anything.

They are forked from one that has imported the app, since a start costs more than most tests. What a
start itself does is tested with real ones.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

PROJECT = Path(__file__).parents[1]
_IMPORTED = (
    *("local.cli", "shared.app", "shared.mcp_server.server"),
    *("azure.functions", "azurefunctions.extensions.http.fastapi"),
    # What makes servers for connections.
    "tests.connections.world",
    *("openai", "azure.storage.blob.aio", "httpx2", "cryptography.hazmat", "PIL.Image"),
)
_NOTHING: Mapping[str, str] = {}


class WarmProcess:
    """A running program, as `subprocess.Popen` has it.

    Args:
        arguments: As Python gets them: ``-m`` and a module or ``-c`` and a program, and what follows.
        environment: All of its environment but the path.

    Attributes:
        pid: Its process.
        stdout: What it prints.
        stderr: What it writes to standard error.
        returncode: As in `subprocess.Popen`; None while it has not been waited for.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str] = _NOTHING) -> None:
        self.stdout, out = _pipe()
        self.stderr, err = _pipe()
        self._told, telling = _pipe()
        self.returncode: int | None = None
        request = json.dumps([list(arguments), {"PATH": os.environ["PATH"], **environment}])
        try:
            _template().fork(request, [out, err, telling])
        finally:
            for each in (out, err, telling):
                os.close(each)
        self.pid = int(self._told.readline())

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Returns how it ended, or None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float) -> int:
        """Waits for its end, at most for this many seconds, and returns how it ended."""
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("the program", timeout)
        return status

    def close(self) -> None:
        """Closes its output."""
        self.stdout.close()
        self.stderr.close()

    def _ended(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            self.returncode = os.waitstatus_to_exitcode(int(self._told.readline()))
            self._told.close()
        return self.returncode


def _pipe() -> tuple[IO[str], int]:
    reading, writing = os.pipe()
    return os.fdopen(reading), writing


def cold_process(
    arguments: Sequence[str], environment: Mapping[str, str] = _NOTHING
) -> "subprocess.Popen[str]":
    """Starts a program and Python itself, which takes seconds; the arguments are `WarmProcess`'s."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class _Template:
    """The process that programs are forked from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(other.fileno())],
                cwd=PROJECT,
                env={"PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
            )
        atexit.register(self._end)

    def fork(self, request: str, files: list[int]) -> None:
        """Has it start a program with these files for its output, its errors, and how it ends."""
        data = request.encode()
        with self._lock:
            socket.send_fds(self._socket, [len(data).to_bytes(4)], files)
            self._socket.sendall(data)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()


_templates: list[_Template] = []


def _template() -> _Template:
    if not _templates:
        _templates.append(_Template())
    return _templates[0]


def main() -> None:
    """Forks programs until nobody can ask for one any more; returns from each fork when it has run."""
    import importlib

    for name in _IMPORTED:
        importlib.import_module(name)
    # What is collected later would be copied for each fork.
    gc.freeze()
    # Nobody waits for those who wait for the programs.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    requests = socket.socket(fileno=int(sys.argv[1]))
    while True:
        head, files, *_ = socket.recv_fds(requests, 4, 3)
        if not head:
            return
        data = b""
        while len(data) < int.from_bytes(head):
            data += requests.recv(2**16)
        if not os.fork():
            requests.close()
            arguments, environment = json.loads(data)
            _mind(*files)
            _run(arguments, environment)
            return
        for each in files:
            os.close(each)


def _mind(out: int, err: int, telling: int) -> None:
    """Returns in the process of the program; tells its id, waits for it and tells how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        os.close(out)
        os.close(err)
        os.write(telling, b"%d\n" % pid)
        os.write(telling, b"%d\n" % os.waitpid(pid, 0)[1])
        os._exit(0)
    os.close(telling)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)


def _run(arguments: list[str], environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    kind, program, *rest = arguments
    sys.argv = [kind, *rest]
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(program, {"__name__": "__main__"})  # noqa: S102 - as Python does it


if __name__ == "__main__":
    main()
