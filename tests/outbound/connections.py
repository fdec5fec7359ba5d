"""Connections to a server whose end a test holds."""

import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpcore2

from local.server import LOOPBACK
from shared.outbound.streams import AsyncioBackend

SOON = 0.05
"""Seconds that are over before anything else happens."""


@asynccontextmanager
async def connected(
    timeout: float | None = None,  # noqa: ASYNC109 - of the library's interface
) -> AsyncIterator[tuple[httpcore2.AsyncNetworkStream, socket.socket]]:
    """A stream, and the server's end of its connection."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        port = listening.getsockname()[1]
        stream = await AsyncioBackend().connect_tcp(LOOPBACK, port, timeout)
        end, _ = listening.accept()
        with end:
            end.setblocking(False)
            yield stream, end
            await stream.aclose()


def wait_for_arrival(stream: httpcore2.AsyncNetworkStream) -> None:
    """Blocks the event loop until something is there to be read."""
    wait_for_arrival_at(stream.get_extra_info("socket"))


def wait_for_arrival_at(end: socket.socket) -> None:
    """Blocks the event loop until something is there to be read at the other end."""
    assert select.select([end], [], [], 10)[0]
