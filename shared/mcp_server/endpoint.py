"""Hosts any MCP server at one HTTP route, stateless, for both eras of the protocol.

The official SDK speaks the protocol; this module adds what it leaves to its host: one start for
concurrent first requests, and the batches of revision 2025-03-26.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from starlette.types import Receive, Scope, Send

from shared.asgi import replay
from shared.mcp_server.batch import answer_batch, read_batch
from shared.mcp_server.list_answers import ListAnswers, read_list_request

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Maximum bytes of one POST."""


class McpEndpoint:
    """An MCP server behind HTTP POST.

    Nothing is imported or started before the first request. It starts the SDK's session manager in a
    task of its own, because the manager's task group belongs to the task that enters it.

    Args:
        make_server: Builds the server; called once, in a thread, because it imports the SDK.
        lists: Keeps the server's lists of tools; None to ask it each time.
    """

    def __init__(
        self, make_server: Callable[[], "Server[Any]"], lists: ListAnswers | None = None
    ) -> None:
        self._make_server = make_server
        self._lists = lists
        self._starting: asyncio.Task[StreamableHTTPSessionManager] | None = None
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[Any]] = set()

    async def answer(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one POST, or every message of a batch.

        Args:
            body: The whole body, already read and of a size that the caller allows.
            scope: Of the request; its ``state`` reaches the server's handlers.
            receive: Of the request; watched for the client's disconnect.
            send: Of the request.
        """
        serving = cast("asyncio.Task[Any]", asyncio.current_task())
        self._serving.add(serving)
        try:
            manager = await self._start()
            messages = read_batch(scope, body)
            if messages is not None:
                await answer_batch(messages, manager.asgi_app, scope, receive, send)
            elif self._lists is not None and (asked := read_list_request(scope, body)) is not None:
                await self._lists.answer(asked, body, manager.asgi_app, scope, receive, send)
            else:
                await manager.asgi_app(scope, replay(body, receive), send)
        finally:
            self._serving.discard(serving)

    async def aclose(self) -> None:
        """Cancels the requests that are still being served, then ends the session manager."""
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        starting = [self._starting] if self._starting else []
        await asyncio.gather(*serving, *starting, return_exceptions=True)
        self._stopping.set()
        if self._running is not None:
            await self._running

    async def _start(self) -> "StreamableHTTPSessionManager":
        if self._starting is None or _has_failed(self._starting):
            self._starting = asyncio.create_task(self._launch())
        # Shielded: the first client may disconnect, and the others still wait for this start.
        return await asyncio.shield(self._starting)

    async def _launch(self) -> "StreamableHTTPSessionManager":
        manager = await asyncio.to_thread(self._make_manager)
        started = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._hold_open(manager, started))
        await started
        return manager

    async def _hold_open(
        self, manager: "StreamableHTTPSessionManager", started: "asyncio.Future[None]"
    ) -> None:
        try:
            async with manager.run():
                started.set_result(None)
                await self._stopping.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    def _make_manager(self) -> "StreamableHTTPSessionManager":
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
        from mcp.server.transport_security import TransportSecuritySettings

        # At info the SDK logs every request, which our request log does already.
        logging.getLogger("mcp").setLevel(logging.WARNING)
        return StreamableHTTPSessionManager(
            self._make_server(),
            json_response=False,
            stateless=True,
            # The SDK's host check knows only localhost; origins are checked by the route.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            max_request_body_size=MAX_MESSAGE_BYTES,
        )


def _has_failed(task: "asyncio.Task[Any]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
