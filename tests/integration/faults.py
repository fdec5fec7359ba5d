"""Faults of a provider, and what the app makes of each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

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
