"""Processes of this app and of those that it is compared with, each with its output in a file."""

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from local.server import LOOPBACK
from tests.ports import free_port
from tests.waiting import block_until

PROJECT = Path(__file__).parents[2]
PEERS = PROJECT / ".venv-peers/bin"
START_SECONDS = 600
"""LiteLLM takes half a minute to start, on a busy machine minutes."""


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        origin: Where it answers.
        key: What it takes as the key of a caller.
        pid: Its process.
    """

    origin: str
    key: str
    pid: int

    @property
    def headers(self) -> dict[str, str]:
        """Carry the key."""
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def peak_mb(self) -> float:
        """The most memory that its process had, in megabytes of Linux's count."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found.group(1)) * 1024 / 1e6 if found else 0.0


@contextmanager
def running(
    command: Sequence[str], pattern: str, settings: Mapping[str, str] | None = None, key: str = ""
) -> Iterator[Server]:
    """Runs a command and yields the server whose origin it prints as the pattern says."""
    with _process(command, settings or {}) as (process, output):
        found = block_until(
            lambda: re.search(pattern, output.read_text()), _alive(process), START_SECONDS
        )
        assert found is not None
        yield Server(found.group(1).replace("localhost", LOOPBACK), key, process.pid)


@contextmanager
def app_running(settings: Mapping[str, str]) -> Iterator[Server]:
    """Runs this app in its local host."""
    key = secrets.token_hex(16)
    command = [sys.executable, "-m", "local", "--port", "0"]
    with running(command, r"API +(\S+)", {**settings, "MCP_API_KEY": key}, key) as server:
        yield server


@contextmanager
def worker_running(settings: Mapping[str, str]) -> Iterator[Server]:
    """Runs this app in the Functions worker's library, behind a stand-in of the host."""
    key = secrets.token_hex(16)
    command = [sys.executable, "-m", "tests.worker.host"]
    with running(command, r'"origin": "([^"]+)"', {**settings, "MCP_API_KEY": key}, key) as server:
        yield server


@contextmanager
def litellm_running(base_url: str, folder: Path) -> Iterator[Server]:
    """Runs LiteLLM's proxy as its documentation does, for one model of a provider."""
    key = f"sk-{secrets.token_hex(16)}"
    model = {"model": "openai/m", "api_base": base_url, "api_key": "unused"}
    config = {
        "model_list": [{"model_name": "m", "litellm_params": model}],
        "general_settings": {"master_key": key},
    }
    file = folder / "litellm.json"
    # JSON is YAML.
    file.write_text(json.dumps(config))
    port = free_port()
    origin = f"http://{LOOPBACK}:{port}"
    command = [f"{PEERS}/litellm", "--config", str(file), "--host", LOOPBACK, "--port", str(port)]
    # Its list of prices comes with it; there is no network to ask for a newer one.
    settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(folder)}
    with _process(command, settings) as (process, _):
        block_until(lambda: _answers(f"{origin}/health/liveliness"), _alive(process), START_SECONDS)
        yield Server(origin, key, process.pid)


@contextmanager
def _process(
    command: Sequence[str], settings: Mapping[str, str]
) -> "Iterator[tuple[subprocess.Popen[bytes], Path]]":
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env={"PATH": os.environ["PATH"], **settings},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process, output
        finally:
            process.terminate()
            process.wait()


def _alive(process: "subprocess.Popen[bytes]") -> Callable[[object], bool]:
    def accept(found: object) -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"A server ended by itself with status {process.returncode}.")
        return bool(found)

    return accept


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False
