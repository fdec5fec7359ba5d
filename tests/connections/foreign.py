"""Servers made with the official SDKs, each in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.node import NODE, installed

PROJECT = Path(__file__).parents[2]
SERVERS = Path(__file__).parent / "servers"
SDK1_PYTHON = PROJECT / ".venv-mcp1/bin/python"

COMMANDS = {
    "sdk2": (sys.executable, str(SERVERS / "server.py")),
    "sdk1": (str(SDK1_PYTHON), str(SERVERS / "server.py")),
    "typescript": (NODE, str(SERVERS / "server.mjs")),
}


def command_of(sdk: str, transport: str) -> list[str]:
    """Returns what starts a server."""
    if sdk == "typescript":
        installed("@modelcontextprotocol/sdk")
    if sdk == "sdk1" and not SDK1_PYTHON.exists():
        pytest.fail("SDK 1 is not installed. Run: make .venv-mcp1/.ready")
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
