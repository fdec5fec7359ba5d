"""A proxy in front of Azurite that can stop after any write: the place to kill an app at."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio.to_thread
import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.conftest import ThreadServer

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date"}


class Gate:
    """Counts writes, and holds back the answer to one of them.

    Args:
        upstream: The storage.
        folder: What stands in the paths of the writes that count.

    Attributes:
        writes: How many there have been.
        reached: Set when the write to stop at has been done and its answer is held back.
    """

    def __init__(self, upstream: str, folder: str) -> None:
        self._folder = folder
        # No connection is kept: Azurite closes idle ones, also just when they are used again.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._client = httpx2.AsyncClient(base_url=upstream, limits=limits, timeout=60)
        self._stop_at = 0
        self._released = threading.Event()
        self.writes = 0
        self.reached = threading.Event()

    def stop_after(self, number: int) -> None:
        """Makes it stop after so many writes from now on."""
        self._stop_at = self.writes + number
        self._released.clear()
        self.reached.clear()

    def release(self) -> None:
        """Lets everything pass."""
        self._stop_at = 0
        self._released.set()

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Closes the client at the end."""
        async with self._client:
            yield

    async def forward(self, request: Request) -> Response:
        """Passes one request on."""
        headers = [
            (name, value) for name, value in request.headers.raw if name.lower() != b"connection"
        ]
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        answer = await self._client.request(
            request.method, path, headers=headers, content=await request.body()
        )
        if request.method in ("PUT", "POST", "DELETE") and self._folder in path:
            self.writes += 1
            if self.writes == self._stop_at:
                self.reached.set()
                await anyio.to_thread.run_sync(self._released.wait)
        kept = {
            name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP
        }
        if request.method == "HEAD":
            kept["content-length"] = answer.headers.get("content-length", "0")
        return Response(answer.content, answer.status_code, kept)


@contextmanager
def gate_before(connection_string: str, folder: str = "") -> Iterator[tuple[Gate, str]]:
    """Yields a gate, which counts what is written to a folder, and the connection string through it."""
    endpoint = connection_string.rsplit("BlobEndpoint=", 1)[1].rstrip(";")
    origin = endpoint.rsplit("/", 1)[0]
    gate = Gate(origin, folder)
    routes = [Route("/{path:path}", gate.forward, methods=["GET", "HEAD", "PUT", "POST", "DELETE"])]
    with ThreadServer(Starlette(routes=routes, lifespan=gate.lifespan)) as server:
        try:
            yield gate, connection_string.replace(origin, server.origin)
        finally:
            gate.release()
