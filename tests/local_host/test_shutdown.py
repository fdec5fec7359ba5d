"""How the local host ends while requests are open."""

import json
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import AUTH, KEY, StandIn
from tests.waiting import block_until
from tests.warm import cold_process

WAIT_SECONDS = 60
SERVE = """
import asyncio, logging, sys
from local.cli import serve
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
asyncio.run(serve(0, float(sys.argv[1])))
"""


class Host:
    """A running ``python -m local`` and what it writes to standard error."""

    def __init__(self, process: "subprocess.Popen[str]", origin: str) -> None:
        self.process = process
        self.http = httpx2.Client(base_url=origin, headers=AUTH, timeout=WAIT_SECONDS)
        self.errors = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line

    def join(self) -> None:
        """Waits until all is read that the process wrote, which has ended."""
        self._reader.join()

    def signal(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def wait(self) -> list[dict[str, Any]]:
        """Waits for its end, and returns the lines that it logged for requests."""
        assert self.process.wait(WAIT_SECONDS) == 0
        self._reader.join()
        assert "Traceback" not in self.errors
        lines = [line for line in self.errors.splitlines() if " request " in line]
        return [json.loads(line.split(" request ")[1]) for line in lines]


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[Host]:
    with cold_process(command, environment) as process:
        host: Host | None = None
        try:
            assert process.stdout is not None
            origins = (re.match(r"  API +(http\S+)", line) for line in process.stdout)
            origin = next(filter(None, origins), None)
            assert origin, "the host did not start"
            host = Host(process, origin[1])
            yield host
            host.http.close()
        finally:
            process.kill()
            if host is not None:
                host.join()


@pytest.fixture
def host(environment: dict[str, str]) -> Iterator[Host]:
    """A host as `make run` starts it."""
    with running(["-m", "local", "--port", "0"], environment) as host:
        yield host


@pytest.fixture
def hurried_host(environment: dict[str, str]) -> Iterator[Host]:
    """A host that gives open requests no time."""
    with running(["-c", SERVE, "0"], environment) as host:
        yield host


@pytest.fixture
def patient_host(environment: dict[str, str]) -> Iterator[Host]:
    """A host that gives open requests more time than these tests have."""
    with running(["-c", SERVE, "3600"], environment) as host:
        yield host


@contextmanager
def posted(host: Host, path: str, body: dict[str, Any], **headers: str) -> Iterator[list[Any]]:
    """Sends a request from a thread; the list has its answer after the block."""
    answers: list[Any] = []

    def send() -> None:
        try:
            answers.append(host.http.post(path, json=body, headers=headers))
        except httpx2.TransportError as error:
            answers.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield answers
    finally:
        thread.join()


def assert_says_that_it_stops(answer: httpx2.Response) -> None:
    assert answer.status_code == 503
    assert answer.json() == {
        "detail": "The server is shutting down. Send the request again.",
        "code": "shutting_down",
        "request_id": answer.headers["x-request-id"],
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_request_that_is_nearly_done_is_answered(
    host: Host, stand_in: StandIn, number: signal.Signals
) -> None:
    stand_in.fault(delay=1)
    with posted(host, "/chat", {"message": "Hello"}) as answers:
        block_until(stand_in.requests)
        host.signal(number)
    assert (answers[0].status_code, answers[0].json()["finish_reason"]) == (200, "stop")
    assert [(line["route"], line["status"]) for line in host.wait()] == [("/chat", 200)]


def test_request_that_takes_longer_is_told_that_the_server_stops(
    hurried_host: Host, stand_in: StandIn
) -> None:
    host = hurried_host
    stand_in.fault(delay=WAIT_SECONDS)
    with posted(host, "/chat", {"message": "Hello"}) as answers:
        block_until(stand_in.requests)
        host.signal()
    assert_says_that_it_stops(answers[0])
    [line] = host.wait()
    assert (line["status"], line["code"]) == (503, "shutting_down")


def test_stream_ends_with_an_error_event(host: Host, stand_in: StandIn) -> None:
    stand_in.fault(text="word " * 1000, chunk_delay=0.1)
    body = {"message": "Hello", "stream": True}
    with host.http.stream("POST", "/chat", json=body) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: chat.created"
        host.signal()
        events = list(lines)
    assert events[-3] == "event: chat.error"
    assert json.loads(events[-2].removeprefix("data: ")) == {
        "type": "chat.error",
        "detail": "The server is shutting down. Send the request again.",
        "code": "shutting_down",
        "request_id": answer.headers["x-request-id"],
    }
    assert events[-1] == ""
    [line] = host.wait()
    assert (line["status"], line["code"]) == (200, "shutting_down")


def test_second_signal_ends_at_once(patient_host: Host, stand_in: StandIn) -> None:
    host = patient_host
    stand_in.fault(delay=WAIT_SECONDS)
    with posted(host, "/chat", {"message": "Hello"}) as answers:
        block_until(stand_in.requests)
        host.signal()
        block_until(lambda: "Stopping" in host.errors)
        host.signal()
    assert_says_that_it_stops(answers[0])
    assert [line["status"] for line in host.wait()] == [503]


def test_second_signal_does_not_wait_for_paid_work(hurried_host: Host, stand_in: StandIn) -> None:
    host = hurried_host
    stand_in.fault(delay=3600)
    with posted(host, "/tools/generate_image", {"prompt": "A hill"}) as answers:
        block_until(stand_in.requests)
        host.signal()
    # Its caller has been told, and it still runs.
    assert_says_that_it_stops(answers[0])
    host.signal()
    host.wait()


def test_paid_work_is_stored_after_its_caller_was_told(
    hurried_host: Host, stand_in: StandIn, environment: dict[str, str]
) -> None:
    host = hurried_host
    stand_in.fault(delay=2)
    with posted(host, "/tools/generate_image", {"prompt": "A hill"}) as answers:
        block_until(stand_in.requests)
        host.signal()
    assert_says_that_it_stops(answers[0])
    host.wait()
    stored = Path(environment["LOCAL_STORAGE_PATH"])
    assert len(list(stored.rglob("*.png"))) == 1


def test_body_that_is_still_coming_is_told_so_too(hurried_host: Host) -> None:
    host = hurried_host
    url = host.http.base_url
    with socket.create_connection((url.host, url.port or 80), WAIT_SECONDS) as connection:
        head = f"POST /chat HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {KEY}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        connection.sendall(head.encode())
        # The server has read the head when it has answered another request.
        assert host.http.get("/health").status_code == 200
        host.signal()
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 503 "), answer
    assert b'"code":"shutting_down"' in answer


def test_client_that_does_not_read_does_not_hold_the_server_up(
    hurried_host: Host, stand_in: StandIn
) -> None:
    host = hurried_host
    stand_in.fault(text=f"{'x' * 10_000} " * 1000)
    url = host.http.base_url
    with socket.create_connection((url.host, url.port or 80), WAIT_SECONDS) as connection:
        body = json.dumps({"message": "Hello", "stream": True})
        head = f"POST /chat HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {KEY}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        connection.sendall(head.encode())
        block_until(stand_in.requests)
        host.signal()
        host.wait()
