"""uvicorn servers on loopback that stop together and cleanly."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.disconnect import SHUTDOWN_REASON
from shared.http_protocol import BoundedHttpProtocol

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 5
"""How long open requests may go on after the first Ctrl-C."""
_STOPPING = (
    b"Stopping: open requests have 5 seconds, what is paid for is stored. "
    b"Press Ctrl-C again to end at once.\n"
)
_KEEP_ALIVE_SECONDS = 75
"""How long idle connections are kept, which is longer than clients keep them.

A request that is sent just when the server closes its connection fails.
"""
_END_SECONDS = 1.0
"""How long requests have to say that the server shuts down."""
_TICK_SECONDS = 0.1
_POLL_SECONDS = 0.01
_ACCEPT_TURNS = 5
_SHUTDOWN: Message = {"type": "http.disconnect", "reason": SHUTDOWN_REASON}


def bind(port: int) -> socket.socket:
    """Returns a socket on a port of the loopback address, for whoever needs to know it before serving.

    Args:
        port: The port; 0 takes a free one.

    Raises:
        OSError: The port is taken.
    """
    # asyncio switches Nagle's delays of 40 ms off only for sockets that say that they are TCP.
    bound = socket.socket(proto=socket.IPPROTO_TCP)
    if os.name != "nt":
        # There it would let two servers have one port.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((LOOPBACK, port))
    except (OSError, OverflowError):
        bound.close()
        raise
    return bound


class LoopbackServer(uvicorn.Server):
    """A server on the loopback address that leaves signals to whoever runs it.

    Stopped, it gives open requests some time. What is still open then is told so by a disconnect with a
    reason, to answer that the server shuts down; what goes on all the same is cut off.

    Args:
        app: What to serve.
        port: Where, as a number, of which 0 takes a free port, or as what `bind` returned.
        grace_seconds: How long open requests may go on after `stop`.

    Raises:
        OSError: The port is taken.
    """

    def __init__(
        self,
        app: ASGIApp,
        port: int | socket.socket = 0,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        config = uvicorn.Config(
            self._end_requests_of(app),
            http=BoundedHttpProtocol,
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        super().__init__(config)
        self._socket = bind(port) if isinstance(port, int) else port
        self._grace_seconds = grace_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopping = asyncio.Event()
        self._is_over = asyncio.Event()
        self._is_interrupted = asyncio.Event()

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
        self._loop = asyncio.get_running_loop()
        await self.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Ends the server after open requests had their time; called again, ends it at once.

        Signal handlers and other threads may call it.
        """
        self.force_exit = self.should_exit
        self.should_exit = True
        if self._loop is not None:
            # Refused where the loop is closed, which it may be at any moment from now on.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake)

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

    async def main_loop(self) -> None:
        """Serves until `stop`, which uvicorn would notice at its next tick only."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            await _wait_for(self._is_stopping, _TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends requests and connections, then the application.

        In place of uvicorn's, which waits for open streams whoever is in a hurry, and cancels requests
        so that they are answered as if the application had failed.
        """
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        # Connections that were accepted last are known only after some turns of the loop.
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._until_idle(self._grace_seconds, self._is_interrupted)
        self._is_over.set()
        for connection in list(self.server_state.connections):
            # Wakes what waits for the client.
            if isinstance(connection, BoundedHttpProtocol):
                connection.wake_requests()
            elif (cycle := getattr(connection, "cycle", None)) is not None:
                # uvicorn's protocol over h11 opens one request at a time.
                cycle.message_event.set()
        await self._until_idle(_END_SECONDS)
        await self._cut_off()
        if not self.force_exit:
            await _first_of(self.lifespan.shutdown(), self._is_interrupted.wait())

    def _wake(self) -> None:
        self._is_stopping.set()
        if self.force_exit:
            self._is_interrupted.set()

    async def _until_idle(self, seconds: float, unless: asyncio.Event | None = None) -> None:
        end = time.monotonic() + seconds
        while self.server_state.connections or self.server_state.tasks:
            # uvicorn tells of neither's end.
            if time.monotonic() >= end or (unless and unless.is_set()):
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _cut_off(self) -> None:
        # First the connections: what is cancelled before them would still be answered.
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end_requests_of(self, app: ASGIApp) -> ASGIApp:
        async def end_with_the_server(scope: Scope, receive: Receive, send: Send) -> None:
            async def receive_or_end() -> Message:
                message = _SHUTDOWN if self._is_over.is_set() else await receive()
                # It may have been woken by the end.
                return _SHUTDOWN if self._is_over.is_set() else message

            is_request = scope["type"] == "http"
            await app(scope, receive_or_end if is_request else receive, send)

        return end_with_the_server


async def _wait_for(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _first_of(*work: Awaitable[Any]) -> Any:
    """Returns the result of what ends first, and cancels the rest."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def exit_on_signals() -> None:
    """Ends the process at once: for one whose thread waits for input, which nothing can cancel."""

    def handle(number: int, frame: FrameType | None) -> None:
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def stop_on_signals(server: LoopbackServer) -> None:
    """Stops the server on Ctrl-C and on a request to terminate: on the second at once.

    The third ends the process.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if server.force_exit:
            # Whatever holds it up now, such as a thread that does not end.
            os._exit(1)
        if not server.should_exit:
            # Not by print, which a signal may interrupt.
            os.write(sys.stderr.fileno(), _STOPPING)
        server.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
