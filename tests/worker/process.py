"""Starts `tests.worker.host` in a process of its own and watches what it writes."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx2

from local.config import PROJECT
from tests.conftest import AUTH
from tests.ports import KEEP_ALIVE_SECONDS, SMALL_BUFFER

TIMEOUT_SECONDS = 60
"""Patience with anything that must happen: far more than it takes on a slow machine."""
START_SECONDS = 150
"""Patience with a start, which imports and indexes everything."""


class Lines:
    """The lines that a process writes to a stream, read by a thread so that it never has to wait.

    Args:
        stream: Read until its end.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._lines: list[str] = []
        self._has_ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def __str__(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def first(
        self, is_wanted: Callable[[str], bool], seconds: float = TIMEOUT_SECONDS
    ) -> str | None:
        """Waits for a line; None where the stream ends without it, or the time is up."""

        def found() -> str | None:
            return next(filter(is_wanted, self._lines), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self._has_ended, seconds)
            return found()

    def join(self) -> None:
        """Waits until the stream has ended."""
        self._thread.join()


@dataclass(frozen=True)
class WorkerProcess:
    """A running host.

    Attributes:
        origin: Where it serves.
        http_uri: Where the worker's own server is, which the host forwards to.
        functions: Name, route and methods of the HTTP functions that the worker indexed.
        timers: Name and schedule of its functions with a timer trigger.
        shared_file: The file of the package ``shared`` that it imported.
        log: What it logs.
        pid: Its process.
    """

    origin: str
    http_uri: str
    functions: list[dict[str, Any]]
    timers: dict[str, str]
    shared_file: str
    log: Lines
    pid: int

    def client(self, headers: dict[str, str] | None = None) -> httpx2.AsyncClient:
        """Returns a client, with the key unless told otherwise."""
        options = [(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)]
        return httpx2.AsyncClient(
            base_url=self.origin,
            headers=AUTH if headers is None else headers,
            timeout=TIMEOUT_SECONDS,
            transport=httpx2.AsyncHTTPTransport(
                limits=httpx2.Limits(max_connections=100, keepalive_expiry=KEEP_ALIVE_SECONDS),
                socket_options=options,
            ),
        )

    async def state(self) -> dict[str, int]:
        """Returns how many ``invocations`` and library's ``references`` there are at the moment."""
        state: dict[str, int] = await self._administer("state")
        return state

    async def held(self) -> dict[str, dict[str, int]]:
        """Returns how many ``tasks`` there are of each coroutine, and ``objects`` of each type."""
        held: dict[str, dict[str, int]] = await self._administer("held")
        return held

    async def invoke(self, function: str) -> None:
        """Has the host run a function with a timer trigger, to its end."""
        assert function in self.timers
        await self._administer(function)

    async def _administer(self, wish: str) -> Any:
        async with self.client() as client:
            response = await client.get(f"/admin/{wish}")
        assert response.status_code == 200, response.text
        return response.json()

    async def logged_request(self, request_id: str) -> dict[str, Any]:
        """Waits for the line that the application logs at the end of a request, and the host keeps.

        Args:
            request_id: The ``X-Request-Id`` that the request was sent with.
        """
        mark = f' request {{"request_id": "{request_id}"'
        line = await asyncio.to_thread(self.log.first, lambda line: mark in line)
        assert line, f"No line about request {request_id}:\n{self.log}"
        assert line.startswith(f"kept[{request_id}] "), line
        document: dict[str, Any] = json.loads(line[line.index("{") :])
        return document


@contextmanager
def run_worker(settings: dict[str, str], project: Path = PROJECT) -> Iterator[WorkerProcess]:
    """Runs a host with these app settings and none of this process.

    Args:
        settings: The app settings.
        project: The folder with ``function_app.py``.

    Raises:
        AssertionError: It did not come up; the message says why.
    """
    environment = {"PATH": os.environ["PATH"], **settings}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.worker.host", str(project)],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        report, log = Lines(process.stdout), Lines(process.stderr)
        try:
            yield _worker(report, log)
        finally:
            _stop(process)
            report.join()
            log.join()


def _worker(report: Lines, log: Lines) -> WorkerProcess:
    line = report.first(lambda line: True, START_SECONDS)
    assert line, f"The host did not come up:\n{log}"
    document = json.loads(line)
    assert document["errors"] == [], "\n".join(document["errors"])
    functions = [
        {key: function[key] for key in ("name", "route", "methods")}
        for function in document["functions"]
        if function["trigger"] == "httpTrigger"
    ]
    timers = {
        function["name"]: function["schedule"]
        for function in document["functions"]
        if function["trigger"] == "timerTrigger"
    }
    return WorkerProcess(
        document["origin"],
        document["http_uri"],
        functions,
        timers,
        document["shared"],
        log,
        document["pid"],
    )


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
