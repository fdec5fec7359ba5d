"""Ports that are known before their server is."""

import atexit
import socket
from contextlib import ExitStack

from local.server import bind

_held = ExitStack()
atexit.register(_held.close)

SMALL_BUFFER = 64 * 1024
"""Bytes that the system holds for a reader, where its default of megabytes would take long to fill."""
KEEP_ALIVE_SECONDS = 2.0
"""How long clients keep an idle connection: less than the five seconds after which uvicorn closes it, so
that no request meets a connection that is being closed."""


def free_port() -> int:
    """Returns a port that nobody else is given while this process runs.

    It is bound but does not listen: connections are refused. Servers that set SO_REUSEADDR, as ours,
    uvicorn and Node do, can bind it too.
    """
    bound: socket.socket = _held.enter_context(bind(0))
    port: int = bound.getsockname()[1]
    return port
