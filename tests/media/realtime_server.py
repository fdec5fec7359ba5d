"""A server of the realtime API that follows the events that OpenAI publishes, for speech.

Source: https://platform.openai.com/docs/api-reference/realtime-server-events
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from local.server import LOOPBACK

SAMPLES = [bytes([1, 0]) * 600, bytes([2, 0]) * 600, bytes([3, 0]) * 600]
USAGE = {
    "total_tokens": 150,
    "input_tokens": 50,
    "output_tokens": 100,
    "input_token_details": {"text_tokens": 50, "audio_tokens": 0, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 20, "audio_tokens": 80},
}


@dataclass
class RealtimeServer:
    """What the server was asked, and what it is to do wrong.

    Attributes:
        base_url: Its base URL.
        status: Refuses the connection with this status.
        refuses: Answers the session's update with this error.
        fails_after: Fails after so many deltas.
        ends: How it then fails: the ``response`` of `response.done`, an ``error`` event, or a closed
            connection.
        hangs: Says nothing more after the deltas.
        waits_after: Waits after so many deltas until it may go on.
        events: Events of the client.
        paths: Paths with their queries, and the header of the authorization.
        left: Set when the client has closed the connection.
        go_on: Set when the server may go on.
    """

    base_url: str = ""
    status: int = 101
    refuses: dict[str, Any] | None = None
    fails_after: int | None = None
    ends: dict[str, Any] = field(default_factory=dict)
    hangs: bool = False
    waits_after: int | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    paths: list[tuple[str, str | None]] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.paths.append((request.path_qs, request.headers.get("Authorization")))
        if self.status != 101:
            return web.Response(status=self.status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await self._send(socket, "session.created", session={"type": "realtime"})
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            event = json.loads(message.data)
            self.events.append(event)
            if event["type"] == "session.update":
                if self.refuses is not None:
                    await self._send(socket, "error", error=self.refuses)
                else:
                    await self._send(socket, "session.updated", session=event["session"])
            elif event["type"] == "response.create":
                await self._speak(socket)
        self.left.set()
        return socket

    async def _speak(self, socket: web.WebSocketResponse) -> None:
        about = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0}
        part = {**about, "content_index": 0}
        await self._send(socket, "response.created", response={"id": "resp_1"})
        await self._send(socket, "response.output_item.added", **about, item={"type": "message"})
        for number, samples in enumerate(SAMPLES):
            if number == self.fails_after:
                await self._fail(socket)
                return
            if number == self.waits_after:
                await self.go_on.wait()
            await self._send(
                socket, "response.output_audio_transcript.delta", **part, delta=f"word {number}"
            )
            delta = b64encode(samples).decode()
            await self._send(socket, "response.output_audio.delta", **part, delta=delta)
        if self.hangs:
            return
        await self._send(socket, "response.output_audio.done", **part)
        await self._send(socket, "rate_limits.updated", rate_limits=[])
        done = {"id": "resp_1", "status": "completed", "usage": USAGE}
        await self._send(socket, "response.done", response=done)

    async def _fail(self, socket: web.WebSocketResponse) -> None:
        if response := self.ends.get("response"):
            await self._send(socket, "response.done", response=response)
        elif error := self.ends.get("error"):
            await self._send(socket, "error", error=error)
        else:
            await socket.close()

    async def _send(self, socket: web.WebSocketResponse, kind: str, **fields: Any) -> None:
        await socket.send_str(json.dumps({"event_id": "event_1", "type": kind, **fields}))


@asynccontextmanager
async def realtime_server() -> AsyncIterator[RealtimeServer]:
    """Serves the realtime API on loopback, in the event loop of the test."""
    server = RealtimeServer()
    application = web.Application()
    application.router.add_get("/v1/realtime", server.serve)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    [(_, port)] = [address[:2] for address in runner.addresses]
    server.base_url = f"http://{LOOPBACK}:{port}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()
