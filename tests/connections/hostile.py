"""An MCP server that means harm: each of its paths is another trick, over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from tests.conftest import ThreadServer

JsonObject = dict[str, Any]
Trick = Callable[["Exchange"], Awaitable[None]]

MEGABYTE = 1024 * 1024
_COMPLETE = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
_CAPABILITIES: JsonObject = {"tools": {}, "resources": {}, "prompts": {}}
TOOL: JsonObject = {"name": "tool", "description": "A tool.", "inputSchema": {"type": "object"}}
ORDINARY: JsonObject = {
    "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": _CAPABILITIES},
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": _CAPABILITIES,
        "serverInfo": {"name": "hostile", "version": "1"},
    },
    "tools/list": {"tools": [TOOL]},
    "resources/list": {"resources": []},
    "resources/templates/list": {"resourceTemplates": []},
    "prompts/list": {"prompts": []},
    "tools/call": {"content": [{"type": "text", "text": "done"}]},
    "resources/read": {"contents": [{"uri": "a://b", "text": "text"}]},
    "prompts/get": {"messages": [{"role": "user", "content": {"type": "text", "text": "text"}}]},
}


@dataclass
class Exchange:
    """One request and the way to answer it."""

    method: str
    message: JsonObject
    send: Send
    receive: Receive
    cookies: int = 0

    @property
    def is_call(self) -> bool:
        return self.message.get("method") == "tools/call"

    async def start(
        self, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        raw = [(b"content-type", content_type.encode())]
        raw += [(name.encode(), text.encode()) for name, text in (headers or {}).items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})
        # Once the caller has gone sending waits for nothing, and would never let us notice.
        await asyncio.sleep(0)

    async def respond(
        self,
        body: bytes,
        content_type: str = "application/json",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        await self.start(content_type, status, headers)
        await self.write(body, more=False)

    async def reply(self, result: Any = None) -> None:
        """Answers as servers do, with another result if one is given."""
        method = self.message.get("method", "")
        if self.method != "POST":
            await self.respond(b"", "text/plain", 405)
        elif "id" not in self.message:
            await self.respond(b"", "text/plain", 202)
        else:
            await self.respond(self.answer(ORDINARY[method] if result is None else result))

    def answer(self, result: Any) -> bytes:
        if isinstance(result, dict):
            result = {**_COMPLETE, **result}
        return json.dumps(
            {"jsonrpc": "2.0", "id": self.message.get("id"), "result": result}
        ).encode()

    def progress(self, number: int, text: str = "step") -> bytes:
        token = self.message["params"].get("_meta", {}).get("progressToken", 0)
        params = {"progressToken": token, "progress": number, "message": text}
        return notification("notifications/progress", params)


def notification(method: str, params: JsonObject) -> bytes:
    return event(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode())


def event(data: bytes) -> bytes:
    return b"event: message\ndata: " + data + b"\n\n"


def results(**changed: Any) -> Trick:
    """Returns the trick of a server whose results are odd; names stand for methods."""
    by_method = {name.replace("_", "/"): result for name, result in changed.items()}

    async def trick(exchange: Exchange) -> None:
        result = by_method.get(exchange.message.get("method", ""))
        await exchange.reply(result(exchange.message) if callable(result) else result)

    return trick


def on_call(answer: Trick) -> Trick:
    """Returns the trick of a server that answers calls of tools in its own way."""

    async def trick(exchange: Exchange) -> None:
        await (answer(exchange) if exchange.is_call else exchange.reply())

    return trick


def on_stream(chunks: Callable[[Exchange], AsyncIterator[bytes]]) -> Trick:
    """Returns the trick of a server that answers calls of tools with a stream of its own."""

    @on_call
    async def trick(exchange: Exchange) -> None:
        await exchange.start("text/event-stream")
        async for chunk in chunks(exchange):
            await exchange.write(chunk)
        await exchange.write(b"", more=False)

    return trick


class Hostile:
    """The server, one trick for each path.

    Args:
        tricks: What a path does.

    Attributes:
        seen: Paths and methods of JSON-RPC, in the order in which they came.
        written: Bytes that each path has sent.
        headers_of_calls: The headers of each call of a tool.
    """

    def __init__(self, tricks: Mapping[str, Trick]) -> None:
        self._tricks = tricks
        self.seen: list[tuple[str, str]] = []
        self.written: dict[str, int] = {}
        self.headers_of_calls: list[dict[bytes, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"].strip("/")
        body = b""
        while (part := await receive())["type"] == "http.request":
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        message: JsonObject = json.loads(body) if body else {}
        self.seen.append((path, str(message.get("method", scope["method"]))))
        if message.get("method") == "tools/call":
            self.headers_of_calls.append(dict(scope["headers"]))

        async def count(part: Any) -> None:
            self.written[path] = self.written.get(path, 0) + len(part.get("body", b""))
            await send(part)

        gone = asyncio.create_task(_until_gone(receive))
        answering = asyncio.ensure_future(
            self._tricks[path](Exchange(scope["method"], message, count, receive, _cookies(scope)))
        )
        await asyncio.wait({gone, answering}, return_when=asyncio.FIRST_COMPLETED)
        for task in (gone, answering):
            task.cancel()
        await asyncio.gather(gone, answering, return_exceptions=True)


def _cookies(scope: Scope) -> int:
    return sum(value.count(b"=") for name, value in scope["headers"] if name == b"cookie")


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@contextmanager
def serving(trick: Trick) -> Iterator[tuple[Hostile, str]]:
    """Runs a server with one trick; gives it and its URL."""
    hostile = Hostile({"mcp": trick})
    with ThreadServer(hostile) as server:
        yield hostile, f"{server.origin}/mcp"
