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
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
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
_END_SECONDS = 60
"""How long the prepared process may take to end, which it may still be preparing."""


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
        files = [os.open(os.devnull, os.O_RDONLY), out, err, telling]
        try:
            _template().fork(request, files)
        finally:
            for each in files:
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


_COMMAND = """
import json, os, signal, socket, sys
address, *arguments = sys.argv[1:]
reading, telling = os.pipe()
request = json.dumps([arguments, dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as template:
    template.connect(address)
    socket.send_fds(template, [len(request).to_bytes(4)], [0, 1, 2, telling])
    template.sendall(request)
os.close(telling)
with os.fdopen(reading) as told:
    pid = int(told.readline())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    code = os.waitstatus_to_exitcode(int(told.readline()))
sys.exit(code if code >= 0 else 128 - code)
"""


def warm_command(arguments: Sequence[str]) -> list[str]:
    """Returns a command that runs a program as `WarmProcess` does, for those who start commands.

    The program has the command's environment, and its standard input, output and errors. It runs in the
    project's folder. The command ends as the program does, and hands signals that end it on.
    """
    # Without what makes a start of Python slow.
    return [sys.executable, "-I", "-S", "-c", _COMMAND, _template().address, *arguments]


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
        self._stack = ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        self.address = f"{folder}/commands"
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with other, socket.socket(socket.AF_UNIX) as commands:
            commands.bind(self.address)
            commands.listen()
            sockets = (other.fileno(), commands.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", *map(str, sockets)],
                cwd=PROJECT,
                env={"PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=sockets,
            )
        atexit.register(self._end)

    def fork(self, request: str, files: list[int]) -> None:
        """Has it start a program with these files: its input, output and errors, and how it ends."""
        data = request.encode()
        with self._lock:
            socket.send_fds(self._socket, [len(data).to_bytes(4)], files)
            self._socket.sendall(data)

    def _end(self) -> None:
        self._socket.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stack.close()


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
    requests, commands = (socket.socket(fileno=int(each)) for each in sys.argv[1:])
    while True:
        if requests in select.select([requests, commands], [], [])[0]:
            request, files = _receive(requests)
            if not request:
                return
        else:
            with commands.accept()[0] as command:
                request, files = _receive(command)
            if not request:
                continue
        if not os.fork():
            requests.close()
            commands.close()
            arguments, environment = json.loads(request)
            _mind(*files)
            _run(arguments, environment)
            return
        for each in files:
            os.close(each)


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Returns a request and its files; an empty one where the other side ended before it was sent."""
    head, files, *_ = socket.recv_fds(connection, 4, 4)
    data = b""
    while head and len(data) < int.from_bytes(head):
        received = connection.recv(2**16)
        if not received:
            for each in files:
                os.close(each)
            return b"", []
        data += received
    return data, files


def _mind(*files: int) -> None:
    """Returns in the process of the program; tells its id, waits for it and tells how it ended."""
    *standard, telling = files
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        for each in standard:
            os.close(each)
        os.write(telling, b"%d\n" % pid)
        os.write(telling, b"%d\n" % os.waitpid(pid, 0)[1])
        os._exit(0)
    os.close(telling)
    for number, each in enumerate(standard):
        os.dup2(each, number)
        os.close(each)


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
