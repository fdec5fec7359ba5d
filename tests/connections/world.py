"""The world around connections: an MCP server that can be steered, and a store to look into."""

import asyncio
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    ListToolsResult,
    PaginatedRequestParams,
    PromptReference,
    ResourceTemplateReference,
    Tool,
)
from starlette.types import ASGIApp, Receive, Scope, Send

from local.server import LOOPBACK, LoopbackServer
from shared.asgi import replay
from shared.errors import StorageUnavailable
from shared.storage import FolderRoot, FolderStore
from shared.storage.objects import (
    ContentHeaders,
    ObjectInfo,
    ObjectPage,
)

SECRET = "secret-of-the-tests"


class StateFolder(FolderStore):
    """A folder store that counts writes, shows what it holds, and fails when told.

    Attributes:
        fails: Asked before each replacement whether storage is unavailable.
        is_stalled: Whether nothing is answered.
        hangs: Whether no replacement ever ends.
        hung: Set once one does not.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(FolderRoot(root), "state", None)
        self._files = root / "state"
        self.writes = 0
        self.hangs = False
        self.hung = asyncio.Event()
        self.fails: Callable[[], bool] = lambda: False
        self.is_stalled = False

    async def read(self, name: str) -> tuple[bytes, ObjectInfo]:
        await self._answer()
        return await super().read(name)

    async def list(self, prefix: str, limit: int = 100, cursor: str | None = None) -> ObjectPage:
        await self._answer()
        return await super().list(prefix, limit, cursor)

    async def create(
        self,
        name: str,
        data: bytes,
        headers: ContentHeaders | None = None,
    ) -> ObjectInfo:
        self.writes += 1
        return await super().create(name, data, headers)

    async def replace(self, name: str, data: bytes, etag: str) -> ObjectInfo:
        if self.fails():
            raise StorageUnavailable("Storage is down, say the tests.")
        self.writes += 1
        if self.hangs:
            self.hung.set()
            await asyncio.Event().wait()
        return await super().replace(name, data, etag)

    async def _answer(self) -> None:
        if self.is_stalled:
            await asyncio.Event().wait()

    @property
    def objects(self) -> dict[str, bytes]:
        """All objects, by name."""
        return {
            path.relative_to(self._files).as_posix(): path.read_bytes()
            for path in self._files.rglob("*")
            if path.is_file()
        }

    @property
    def connections(self) -> dict[str, bytes]:
        """The records of connections, by name."""
        return {
            name: data for name, data in self.objects.items() if name.startswith("connections/")
        }

    def put(self, name: str, data: bytes) -> None:
        """Puts something else in the place of an object."""
        (self._files / name).write_bytes(data)

    def edit(self, **fields: Any) -> None:
        """Changes fields of all stored connections behind everybody's back."""
        for name, data in self.connections.items():
            self.put(name, json.dumps(json.loads(data) | fields).encode())

    def make_older(self, seconds: float) -> None:
        """Moves the last write of all stored connections into the past."""
        for name in self.connections:
            path = self._files / name
            moment = path.stat().st_mtime - seconds
            os.utime(path, (moment, moment))

    @property
    def text(self) -> str:
        """All that is stored, to look for secrets in."""
        return b"\n".join(self.objects.values()).decode()


def make_server(name: str = "fixture") -> MCPServer:
    """Returns a server with a bit of everything."""
    server = MCPServer(name)

    @server.tool()
    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b

    @server.tool()
    def fail() -> str:
        """Fails."""
        raise ToolError("it went wrong")

    @server.tool()
    def large(size: int) -> str:
        """Says much."""
        return "x" * size

    @server.tool()
    async def count(ctx: Context[Any, Any]) -> str:
        """Reports progress."""
        for step in (1, 2):
            await ctx.report_progress(step, 2, f"step {step}")
        return "counted"

    @server.tool()
    async def sleep(ctx: Context[Any, Any], seconds: float) -> str:
        """Takes its time, and says when it begins."""
        await ctx.report_progress(0)
        await asyncio.sleep(seconds)
        return "slept"

    @server.resource("note://one")
    def note() -> str:
        """A note."""
        return "noted"

    @server.resource("note://{topic}/{number}")
    def numbered(topic: str, number: str) -> str:
        """A note on a topic."""
        return f"{topic} {number}"

    @server.prompt()
    def review(language: str) -> str:
        """Asks for a review."""
        return f"Review this {language}"

    @server.completion()  # type: ignore[no-untyped-call, untyped-decorator]
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        """Goes on with what it is asked for, by its own names."""
        name = ref.name if isinstance(ref, PromptReference) else ref.uri
        given = ",".join(((context and context.arguments) or {}).values())
        values = [f"{argument.value}: {argument.name} of {name} with '{given}'"]
        return Completion(values=values, total=7, has_more=True)

    return server


def make_paging_server(
    pages: int, page_size: int, description: str = "A tool.", starts_over: bool = False
) -> Server[dict[str, Any]]:
    """Returns a server that lists tools page by page, and all over again if told."""

    first = "0" if starts_over else None

    async def list_tools(context: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        page = int(params.cursor) if params and params.cursor else 0
        names = [f"tool_{page}_{number}" for number in range(page_size)]
        return ListToolsResult(
            tools=[
                Tool(name=name, description=description, input_schema={"type": "object"})
                for name in names
            ],
            next_cursor=str(page + 1) if page + 1 < pages else first,
        )

    return Server("paging", on_list_tools=list_tools)


class Gate:
    """Stands before a server: asks for a token, notes requests, and speaks only an old revision if told.

    Attributes:
        token: What it lets in; None for everybody.
        current_token: The same, asked for with every request.
        methods: The JSON-RPC methods that came, in order.
        queries: The queries of all URLs that were asked for.
        is_old: Whether it knows nothing of the newer era.
        is_new: Whether it knows nothing of the older one.
        broken_tools: The statuses that calls of tools are answered with; 0 breaks an answer off.
        held_tool: The tool whose calls wait until they are released.
        released: Lets them go on.
        challenge: Its ``WWW-Authenticate``.
        broken_with: The status of every answer; None while it works.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.token: str | None = None
        self.current_token: Callable[[], str | None] = lambda: self.token
        self.methods: list[str] = []
        self.authorizations: list[str | None] = []
        self.queries: set[str] = set()
        self.is_old = False
        self.is_new = False
        self.broken_tools: dict[str, int] = {}
        self.held_tool: str | None = None
        self.released = threading.Event()
        self.challenge = "Bearer"
        self.broken_with: int | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        self.queries.add(scope["query_string"].decode())
        self.authorizations.append(headers.get("authorization"))
        token = self.current_token()
        if token is not None and headers.get("authorization") != f"Bearer {token}":
            await _answer(send, 401, {"www-authenticate": self.challenge})
            return
        if self.broken_with is not None:
            await _answer(send, self.broken_with, {})
            return
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body = await _body(receive)
        message = json.loads(body) if body else {}
        method = message.get("method", "")
        tool = message.get("params", {}).get("name") if method == "tools/call" else None
        self.methods.append(method)
        refused = {"server/discover": self.is_old, "initialize": self.is_new}
        if refused.get(method):
            await _answer(send, 400, {})
            return
        if tool in self.broken_tools:
            await _answer(send, self.broken_tools[tool], {})
            return
        if tool is not None and tool == self.held_tool:
            await asyncio.to_thread(self.released.wait, 30)
        await self.app(scope, replay(body, receive), send)


async def _body(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def _answer(send: Send, status: int, headers: dict[str, str]) -> None:
    """Answers without a body; with status 0, with less of one than was announced."""
    headers = headers if status else {"content-type": "application/json", "content-length": "9"}
    raw = [(key.encode(), value.encode()) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": status or 200, "headers": raw})
    await send({"type": "http.response.body", "body": b""})


class Running:
    """An application on loopback that can be stopped and started again at the same port."""

    def __init__(self, make_app: Callable[[], ASGIApp]) -> None:
        self._make_app = make_app
        self._server: LoopbackServer | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    @property
    def origin(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        server = LoopbackServer(self._make_app(), self.port, grace_seconds=0)
        self.port = server.port
        server.listen()
        self._server = server
        self._thread = threading.Thread(target=lambda: asyncio.run(server.run_until_stopped()))
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.stop()
            self._thread.join()
            self._server = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> "Running":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
