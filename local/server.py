"""uvicorn servers on loopback that stop together and cleanly."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 5
_STOPPING = b"Stopping; requests have a few seconds to finish. Press Ctrl-C again to end them.\n"


def bind(port: int) -> socket.socket:
    """Returns a socket on a port of the loopback address, for whoever needs to know it before serving.

    Args:
        port: The port; 0 takes a free one.

    Raises:
        OSError: The port is taken.
    """
    # asyncio switches Nagle's delays of 40 ms off only for sockets that say that they are TCP.
    bound = socket.socket(proto=socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((LOOPBACK, port))
    except (OSError, OverflowError):
        bound.close()
        raise
    return bound


class LoopbackServer(uvicorn.Server):
    """A server on the loopback address that leaves signals to whoever runs it.

    Args:
        app: What to serve.
        port: Where, as a number, of which 0 takes a free port, or as what `bind` returned.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, app: ASGIApp, port: int | socket.socket = 0) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self._socket = bind(port) if isinstance(port, int) else port

    @property
    def port(self) -> int:
        """The port that is served."""
        port: int = self._socket.getsockname()[1]
        return port

    def listen(self) -> None:
        """Accepts connections already: requests wait, instead of failing, until the server serves."""
        self._socket.listen()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield

    async def run_until_stopped(self) -> None:
        """Serves until `stop`."""
        await self.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Lets requests finish for a few seconds, then ends; called again, ends at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serves while the block runs."""
        self.listen()
        task = asyncio.create_task(self.run_until_stopped())
        try:
            yield
        finally:
            self.stop()
            await task


def exit_on_signals() -> None:
    """Ends the process at once: for one whose thread waits for input, which nothing can cancel."""

    def handle(number: int, frame: FrameType | None) -> None:
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def stop_on_signals(server: LoopbackServer) -> None:
    """Stops the server on Ctrl-C and on a request to terminate."""

    def handle(number: int, frame: FrameType | None) -> None:
        if not server.should_exit:
            # Not by print, which a signal may interrupt.
            os.write(sys.stderr.fileno(), _STOPPING)
        server.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
