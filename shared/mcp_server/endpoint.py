"""Hosts any MCP server at one HTTP route, stateless, for both eras of the protocol.

The official SDK speaks the protocol; this module adds what it leaves to its host: one start for
concurrent first requests, and the batches of revision 2025-03-26.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from starlette.types import Receive, Scope, Send

from shared.asgi import replay
from shared.disconnect import cancel_on_disconnect
from shared.mcp_server.batch import answer_batch, knows_batches
from shared.mcp_server.list_answers import ListAnswers, read_list_request
from shared.mcp_server.messages import version_refusal
from shared.mcp_server.short_calls import is_short_call

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Maximum bytes of one POST."""


class _Managers(NamedTuple):
    """The SDK's session managers of one server.

    Attributes:
        streams: Answers with event streams.
        documents: Answers with one JSON document each; None where no tool is short.
    """

    streams: "StreamableHTTPSessionManager"
    documents: "StreamableHTTPSessionManager | None"


class McpEndpoint:
    """An MCP server behind HTTP POST.

    Nothing is imported or started before the first request. It starts the SDK's session managers in a
    task of their own, because a manager's task group belongs to the task that enters it.

    Args:
        make_server: Builds the server; called once, in a thread, because it imports the SDK.
        lists: Keeps the server's lists of tools; None to ask it each time.
        short_tools: Names of tools that ask nobody outside, and so never take long. Where there are any,
            the server's lifespan is entered twice.
    """

    def __init__(
        self,
        make_server: Callable[[], "Server[Any]"],
        lists: ListAnswers | None = None,
        short_tools: Collection[str] = (),
    ) -> None:
        self._make_server = make_server
        self._lists = lists
        self._short_tools = frozenset(short_tools)
        self._starting: asyncio.Task[_Managers] | None = None
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[Any]] = set()

    async def answer(
        self, body: bytes, document: Any, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answers one POST, or every message of a batch.

        Args:
            body: The whole body, already read and of a size that the caller allows.
            document: The JSON that the body holds, so that it is decoded once here: the SDK takes bytes.
            scope: Of the request, whose headers say that the body is JSON and that both a document and
                a stream are taken; its ``state`` reaches the server's handlers.
            receive: Of the request; watched for the client's disconnect.
            send: Of the request.
        """
        serving = cast("asyncio.Task[Any]", asyncio.current_task())
        self._serving.add(serving)
        try:
            managers = await self._start()
            app = managers.streams.asgi_app
            if refusal := version_refusal(scope, document):
                await refusal(scope, receive, send)
            elif isinstance(document, list) and knows_batches(scope):
                await answer_batch(document, app, scope, receive, send)
            elif managers.documents and is_short_call(document, self._short_tools):
                # The SDK watches the client beside a stream only.
                async with cancel_on_disconnect(receive):
                    await managers.documents.asgi_app(scope, replay(body), send)
            elif self._lists and (asked := read_list_request(scope, body, document)):
                await self._lists.answer(asked, body, app, scope, receive, send)
            else:
                await app(scope, replay(body, receive), send)
        finally:
            self._serving.discard(serving)

    async def aclose(self) -> None:
        """Cancels the requests that are still being served, then ends the session managers."""
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        starting = [self._starting] if self._starting else []
        await asyncio.gather(*serving, *starting, return_exceptions=True)
        self._stopping.set()
        if self._running is not None:
            await self._running

    async def _start(self) -> _Managers:
        if self._starting is None or _has_failed(self._starting):
            self._starting = asyncio.create_task(self._launch())
        # Shielded: the first client may disconnect, and the others still wait for this start.
        return await asyncio.shield(self._starting)

    async def _launch(self) -> _Managers:
        managers = await asyncio.to_thread(self._make_managers)
        started = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._hold_open(managers, started))
        await started
        return managers

    async def _hold_open(self, managers: _Managers, started: "asyncio.Future[None]") -> None:
        try:
            async with managers.streams.run(), _run(managers.documents):
                started.set_result(None)
                await self._stopping.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    def _make_managers(self) -> _Managers:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
        from mcp.server.transport_security import TransportSecuritySettings

        # At info the SDK logs every request, which our request log does already.
        logging.getLogger("mcp").setLevel(logging.WARNING)
        server = self._make_server()

        def make(*, json_response: bool) -> StreamableHTTPSessionManager:
            return StreamableHTTPSessionManager(
                server,
                json_response=json_response,
                stateless=True,
                # The SDK's host check knows only localhost; origins are checked by the route.
                security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
                max_request_body_size=MAX_MESSAGE_BYTES,
            )

        documents = make(json_response=True) if self._short_tools else None
        return _Managers(make(json_response=False), documents)


def _run(
    manager: "StreamableHTTPSessionManager | None",
) -> AbstractAsyncContextManager[None]:
    return nullcontext() if manager is None else manager.run()


def _has_failed(task: "asyncio.Task[Any]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
