"""A proxy in front of Azurite that fails in the ways in which Blob Storage and networks do.

It speaks HTTP/1.1 by itself, because no server lets go of a connection in the middle of an answer.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.waiting import LIMIT_SECONDS

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class StorageRequest:
    """A request to storage.

    Attributes:
        target: Path and query.
    """

    method: str
    target: str

    @property
    def is_write(self) -> bool:
        """Whether it changes something."""
        return self.method in ("PUT", "DELETE")


@dataclass(frozen=True)
class Refusal:
    """An answer that is given without asking storage.

    Attributes:
        code: Storage's name of the error.
        retry_after: Seconds; None leaves the header out.
    """

    status: int
    code: str
    retry_after: int | None = None

    def encode(self, *, has_body: bool) -> bytes:
        """Returns the answer as it goes over the wire."""
        error = f"<Error><Code>{self.code}</Code><Message>No.</Message></Error>"
        body = f'<?xml version="1.0" encoding="utf-8"?>{error}'.encode()
        head = [
            f"HTTP/1.1 {self.status} {self.code}",
            f"x-ms-error-code: {self.code}",
            "Content-Type: application/xml",
            f"Content-Length: {len(body)}",
        ]
        if self.retry_after is not None:
            head.append(f"Retry-After: {self.retry_after}")
        return "\r\n".join([*head, "", ""]).encode() + (body if has_body else b"")


@dataclass(frozen=True)
class LostAnswer:
    """The connection breaks after storage has done what it was asked, and before it says so."""


@dataclass(frozen=True)
class HeldAnswer:
    """Storage does what it was asked, and says so only when it may; in a minute, or its answer is lost.

    Attributes:
        done: Set when it has done it.
        may_say: Set when it may say so.
    """

    done: threading.Event = field(default_factory=threading.Event)
    may_say: threading.Event = field(default_factory=threading.Event)


BUSY = Refusal(503, "ServerBusy")
LOST = LostAnswer()

Fault = Refusal | LostAnswer | HeldAnswer
Decide = Callable[[StorageRequest], Fault | None]


@dataclass
class StorageProxy:
    """What the proxy does wrong, and what it has seen.

    Attributes:
        decide: Says what happens to a request; None lets it pass.
        seen: All requests, in order.
        faults: How many went wrong.
    """

    decide: Decide = lambda request: None
    seen: list[StorageRequest] = field(default_factory=list)
    faults: int = 0

    def fail(self, method: str, part: str, *faults: Fault, after: int = 0) -> None:
        """Fails the next requests that match, one fault each, and lets all others pass.

        Args:
            method: Of the requests.
            part: Stands somewhere in their path and query.
            faults: What happens to them.
            after: How many of them pass before.
        """
        waiting: list[Fault | None] = [*[None] * after, *faults]

        def decide(request: StorageRequest) -> Fault | None:
            matches = request.method == method and part in request.target
            return waiting.pop(0) if matches and waiting else None

        self.decide = decide

    async def serve(
        self, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serves one connection."""
        try:
            while await self._serve_one(host, port, reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # Cancelled where the proxy ends: Python 3.11 would log that as an error.
            pass
        finally:
            writer.transport.abort()

    async def _serve_one(
        self, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        body = await reader.readexactly(int(_header(head, b"content-length") or 0))
        request = StorageRequest(method, target)
        self.seen.append(request)
        fault = self.decide(request)
        self.faults += fault is not None
        if isinstance(fault, Refusal):
            writer.write(fault.encode(has_body=method != "HEAD"))
            await writer.drain()
            return True
        answer = await _ask(host, port, head + body, has_body=method != "HEAD")
        if isinstance(fault, LostAnswer):
            return False
        if isinstance(fault, HeldAnswer):
            fault.done.set()
            if not await asyncio.to_thread(fault.may_say.wait, LIMIT_SECONDS):
                return False
        writer.write(answer)
        await writer.drain()
        return _header(answer.partition(b"\r\n\r\n")[0], b"connection") != b"close"


@contextmanager
def proxy_before(connection_string: str) -> Iterator[tuple[StorageProxy, str]]:
    """Yields a proxy and the connection string that leads through it."""
    endpoint = connection_string.rsplit("BlobEndpoint=", 1)[1].rstrip(";")
    origin = endpoint.rsplit("/", 1)[0]
    host, _, port = origin.removeprefix("http://").partition(":")
    proxy = StorageProxy()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    starting = asyncio.start_server(
        lambda reader, writer: proxy.serve(host, int(port), reader, writer), LOOPBACK, 0
    )
    server = asyncio.run_coroutine_threadsafe(starting, loop).result()
    own = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy, connection_string.replace(origin, own)
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _stop(server: asyncio.Server) -> None:
    """Ends the proxy at once, also where a connection comes in just now."""
    server.close()
    serving = asyncio.all_tasks() - {asyncio.current_task()}
    for each in serving:
        each.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    # The transports close in the loop's next round.
    await asyncio.sleep(0)


async def _ask(host: str, port: int, request: bytes, *, has_body: bool) -> bytes:
    """Sends a request to storage and returns the answer, which has a body or none.

    Each has a connection of its own. Azurite closes idle ones, perhaps just when the next request is
    sent: the app would repeat it, and tests that count requests would count one too many.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        await writer.drain()
        return await _read_answer(reader, has_body=has_body)
    finally:
        writer.transport.abort()


async def _read_answer(reader: asyncio.StreamReader, *, has_body: bool) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if not has_body or head.split(b" ", 2)[1] in (b"204", b"304"):
        return head
    if _header(head, b"transfer-encoding") != b"chunked":
        return head + await reader.readexactly(int(_header(head, b"content-length") or 0))
    parts = [head]
    while True:
        line = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(line, 16) + 2)
        parts += [line, chunk]
        if len(chunk) == 2:
            return b"".join(parts)


def _header(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().lower()
    return None
