"""A server of the older SSE transport."""

import json
import subprocess
import sys
from typing import Any

SSE_SERVER = """
import asyncio, json, sys
from local.server import LoopbackServer
from tests.connections.world import Gate, make_server

gate = Gate(make_server().sse_app())
vars(gate).update(json.loads(sys.argv[2]))
server = LoopbackServer(gate, int(sys.argv[1]))
server.listen()
print(server.port, flush=True)
asyncio.run(server.run_until_stopped())
"""


class SseProcess:
    """An SSE server in a process of its own, since one that is killed leaves streams open.

    Args:
        port: Where it is.
        gate: Attributes of the gate before it.
    """

    def __init__(self, port: int = 0, **gate: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SSE_SERVER, str(port), json.dumps(gate)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/sse"

    def __enter__(self) -> "SseProcess":
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()
