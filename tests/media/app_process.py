"""The app in processes of their own, which tests can kill.

They are forked from one that has imported everything, since a start costs more than most tests. Leases
and the pauses between two looks at a video are short, so that tests need not wait for them.
"""

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class AppProcess:
    """A running app.

    Attributes:
        origin: Where it answers.
        pid: Its process.
    """

    origin: str
    pid: int

    def kill(self) -> None:
        """Ends it as a machine that fails does."""
        _template().ask("kill", self.pid)


class _Template:
    """The process that apps are forked from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.media.app_process"],
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"], "SSL_CERT_DIR": str(PROJECT / "tests")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self._process.communicate)

    def ask(self, wish: str, detail: Any) -> Any:
        """Has the process ``start`` an app with these settings, or ``kill`` one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps([wish, detail]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        assert answer, "the app did not start"
        return json.loads(answer)


_templates: list[_Template] = []


def _template() -> _Template:
    if not _templates:
        _templates.append(_Template())
    return _templates[0]


@contextmanager
def running(environment: Mapping[str, str]) -> Iterator[AppProcess]:
    """Runs the app while the block runs."""
    app = AppProcess(**_template().ask("start", dict(environment)))
    try:
        yield app
    finally:
        app.kill()


def main() -> None:
    """Starts and kills apps as the standard input says, until it ends."""
    from tests.quick_apps import make_apps_quick, prepare_apps

    make_apps_quick()
    prepare_apps()
    # What is collected later would be copied for each fork.
    gc.freeze()
    apps: set[int] = set()
    for line in sys.stdin:
        wish, detail = json.loads(line)
        if wish == "start":
            answer = _fork(detail)
            apps.add(answer["pid"])
        else:
            answer = None
            if detail in apps:
                _kill(detail)
                apps.remove(detail)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in apps:
        _kill(pid)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _fork(environment: Mapping[str, str]) -> dict[str, Any]:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        # What it writes is no answer to a wish, and the wishes are not its own.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        os.environ.update(environment)
        try:
            _serve(writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as told:
        return {"origin": told.readline(), "pid": pid}


def _serve(telling: int) -> None:
    import asyncio

    from local.server import LOOPBACK, LoopbackServer, bind
    from shared.app import create_app
    from shared.timing import Timing

    # Blob Storage tells the age of what it stores in whole seconds.
    timing = Timing(lease=2.0, renewal=0.25, longest_video_poll=0)
    bound = bind(0)
    host = f"{LOOPBACK}:{bound.getsockname()[1]}"
    os.environ["WEBSITE_HOSTNAME"] = host
    server = LoopbackServer(create_app(timing=timing), bound)
    server.listen()
    os.write(telling, f"http://{host}".encode())
    os.close(telling)
    asyncio.run(server.run_until_stopped())


if __name__ == "__main__":
    main()
