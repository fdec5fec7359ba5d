"""A server of the older SSE transport."""

import json
from threading import Thread
from typing import Any

from tests.warm import WarmProcess

KILLED_SECONDS = 60
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
        self._process = WarmProcess(["-c", SSE_SERVER, str(port), json.dumps(gate)])
        # A pipe that nobody reads is full after some errors, and stops the server.
        self._reader = Thread(target=self._process.stderr.read)
        self._reader.start()
        self.port = int(self._process.stdout.readline())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/sse"

    def __enter__(self) -> "SseProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(KILLED_SECONDS)
        self._reader.join()
        self._process.close()
