"""Servers made with the official SDKs, each in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SERVERS = Path(__file__).parent / "servers"
SDK1_PYTHON = PROJECT / ".venv-mcp1/bin/python"

COMMANDS = {
    "sdk2": (sys.executable, str(SERVERS / "server.py")),
    "sdk1": (str(SDK1_PYTHON), str(SERVERS / "server.py")),
    "typescript": ("node", str(SERVERS / "server.mjs")),
}
_INSTALLED = {"sdk1": ".venv-mcp1/.ready", "typescript": ".mcp-ts/.ready"}


def command_of(sdk: str, transport: str) -> list[str]:
    """Returns what starts a server."""
    stamp = _INSTALLED.get(sdk)
    if stamp is not None and not (PROJECT / stamp).exists():
        pytest.fail(f"The server of {sdk} is not installed. Run: make {stamp}")
    return [*COMMANDS[sdk], transport]


@contextmanager
def running(sdk: str, transport: str, port: int = 0) -> Iterator[str]:
    """Runs a server while the block runs, and yields its URL."""
    command = [*command_of(sdk, transport), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http"), "the server did not start"
        yield url
    finally:
        process.kill()
        process.communicate()
