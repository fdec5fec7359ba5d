"""Answers on their way to clients who do not read them, from a real server."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.routes.middleware import RequestMiddleware
from tests.conftest import ThreadServer
from tests.waiting import LIMIT_SECONDS, until

SIZE = 20_000_000
PIECE = 10_000
SOCKETS_TAKE = 8_000_000
"""More than the buffers of both ends of a connection hold."""


async def large_answer(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(b"x" * SIZE)(scope, receive, send)


async def many_pieces(scope: Scope, receive: Receive, send: Send) -> None:
    pieces = (b"x" * PIECE for _ in range(SIZE // PIECE))
    await StreamingResponse(pieces)(scope, receive, send)


async def wrapping_library(scope: Scope, receive: Receive, send: Send) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(large_answer(scope, receive, send))


async def download(scope: Scope, receive: Receive, send: Send) -> None:
    scope["state"]["send"].allow_download()
    await large_answer(scope, receive, send)


@contextmanager
def serving(app: ASGIApp, seconds: float = 0.2) -> Iterator[str]:
    middleware = RequestMiddleware(app, deadline_seconds=seconds, send_grace_seconds=0.2)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await middleware(scope, receive, send)

    with ThreadServer(serve) as server:
        yield server.origin


@contextmanager
def asking(origin: str) -> Iterator[socket.socket]:
    """A connection over which something was asked, and nothing of the answer was read."""
    target = urlsplit(origin)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.connect((target.hostname, target.port))
        connection.setblocking(False)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: app\r\nX-Request-Id: deaf\r\n\r\n")
        yield connection


async def read_rest(connection: socket.socket, enough: int | None = None) -> int:
    """Returns how many bytes are left until the server ends the connection, or that there are enough."""
    count = 0
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        while piece := await loop.sock_recv(connection, 2**20):
            count += len(piece)
            if enough is not None and count >= enough:
                break
    return count


@pytest.mark.parametrize(
    "app", [large_answer, many_pieces, wrapping_library], ids=lambda app: app.__name__
)
async def test_answer_that_nobody_reads_is_given_up_after_the_deadline(
    app: ASGIApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shared")
    with serving(app) as origin, asking(origin) as connection:
        await until(lambda: "did not read its answer in time" in caplog.text)
        assert await read_rest(connection) < SOCKETS_TAKE
        await until(lambda: '"outcome": "client_error"' in caplog.text)
    assert '"request_id": "deaf"' in caplog.text
    assert '"status": 200' in caplog.text
    assert "Unhandled error" not in caplog.text


@pytest.mark.parametrize("app", [large_answer, many_pieces], ids=lambda app: app.__name__)
async def test_large_answer_arrives_whole_where_it_is_read(app: ASGIApp) -> None:
    with serving(app, LIMIT_SECONDS) as origin:
        async with httpx2.AsyncClient(base_url=origin, timeout=60) as client:
            assert len((await client.get("/")).content) == SIZE


async def test_download_goes_on_as_long_as_it_is_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "shared")
    with serving(download) as download_origin, asking(download_origin) as slow:
        with serving(large_answer) as origin, asking(origin):
            await until(lambda: "did not read its answer in time" in caplog.text)
        # The other answer had the same time, and began later.
        assert await read_rest(slow, SIZE) >= SIZE
