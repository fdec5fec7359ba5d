"""Faults of a provider, and what the app makes of each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2

TLS_HANDSHAKE = b"\x16"
"""First byte of a client that speaks TLS (RFC 8446, section 5.1)."""

RESET = b"<reset>"
"""Stands for a connection that is reset, in place of one that is closed."""

FAULTS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"status": 401, "message": "Bad key sk-leak"}, 502, "provider_credentials", "OPENAI_API_KEY"),
    ({"status": 403, "message": "Not you sk-leak"}, 502, "provider_credentials", "OPENAI_API_KEY"),
    ({"status": 400, "message": "No such knob"}, 400, "provider_rejected", "No such knob"),
    ({"status": 404, "message": "No such model"}, 400, "provider_rejected", "No such model"),
    ({"status": 422, "message": "Odd field"}, 400, "provider_rejected", "Odd field"),
    ({"status": 400, "code": "content_filter"}, 400, "content_filtered", "content filter"),
    ({"status": 400, "code": "content_policy_violation"}, 400, "content_filtered", "filter"),
    ({"status": 429, "code": "insufficient_quota"}, 429, "quota_exceeded", "quota"),
    ({"status": 500}, 502, "provider_unavailable", "status 500"),
    ({"status": 503}, 502, "provider_unavailable", "status 503"),
    ({"body": "{not json"}, 502, "provider_unavailable", ""),
    ({"body": '{"object": "something else"}'}, 502, "provider_unavailable", ""),
    ({"body": '{"error": {"message": "x"}}'}, 502, "provider_unavailable", ""),
    ({"cut": "connection"}, 502, "provider_truncated", "before it was complete"),
]


class DroppingProxy:
    """Closes the first connections as soon as a request comes in, and passes on the later ones."""

    def __init__(self, upstream: str, drops: int) -> None:
        self._upstream = httpx2.URL(upstream)
        self._drops = drops
        self._served: set[asyncio.Task[None]] = set()
        self.connections = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """The port, for as long as it listens; all connections have ended afterwards."""
        server = await asyncio.start_server(self._accept, "127.0.0.1")
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for each in self._served:
                each.cancel()
            await asyncio.gather(*self._served, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            # Its head and its body may arrive one after the other.
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
            body = await reader.readexactly(int(length or 0))
            if self.connections > self._drops:
                head = head.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
                await self._pass_on(head + body, writer)
        finally:
            writer.close()

    async def _pass_on(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        reader, upstream = await asyncio.open_connection(self._upstream.host, self._upstream.port)
        try:
            upstream.write(request)
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            upstream.close()


class Faulty:
    """A server that answers each request with given bytes and then closes or resets the connection.

    Attributes:
        answer: The bytes.
        rest: What follows once it may go on.
        go_on: Set when it may.
        count: How many requests came.
    """

    def __init__(self) -> None:
        self.answer = b""
        self.rest = b""
        self.go_on = asyncio.Event()
        self.count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one request."""
        head = await reader.readexactly(1)
        if head == TLS_HANDSHAKE:
            writer.write(b"HTTP/1.1 400 No\r\n\r\n")
            writer.close()
            return
        head += await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        self.count += 1
        writer.write(self.answer.removesuffix(RESET))
        with suppress(ConnectionError):
            await writer.drain()
            if self.rest:
                await self.go_on.wait()
                writer.write(self.rest.removesuffix(RESET))
                await writer.drain()
        if (self.answer + self.rest).endswith(RESET):
            writer.transport.abort()
        writer.close()
