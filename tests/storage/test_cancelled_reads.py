"""Whoever stops reading from Blob Storage in the middle leaves no connection behind."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from local.server import LOOPBACK
from shared.storage.blob import BlobAccount, BlobStore

_HALF = 16 * 1024 * 1024
"""More than the buffers between two processes hold: it was sent once its reader has read of it."""

_HEADERS = (
    "HTTP/1.1 206 Partial Content\r\n"
    f"Content-Length: {2 * _HALF}\r\n"
    f"Content-Range: bytes 0-{2 * _HALF - 1}/{2 * _HALF}\r\n"
    'ETag: "0x1"\r\n'
    "Last-Modified: Mon, 30 Nov 2026 00:00:00 GMT\r\n"
    "x-ms-blob-type: BlockBlob\r\n\r\n"
)


class StalledStorage:
    """Storage that sends one half of an object, and then nothing more.

    Attributes:
        began: Set once the half was sent.
        left: Set once the reader has closed the connection.
    """

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_HEADERS.encode() + bytes(_HALF))
        await writer.drain()
        self.began.set()
        with suppress(ConnectionError):
            await reader.read()
        self.left.set()
        writer.close()


@pytest.fixture
async def stalled() -> AsyncIterator[tuple[StalledStorage, BlobStore]]:
    storage = StalledStorage()
    async with await asyncio.start_server(storage.serve, LOOPBACK, 0) as server:
        port = server.sockets[0].getsockname()[1]
        account = BlobAccount.from_connection_string(
            f"AccountName=account;AccountKey={b64encode(b'key').decode()};"
            f"BlobEndpoint=http://{LOOPBACK}:{port}/account;"
        )
        yield storage, BlobStore(account, "objects")
        await account.aclose()


async def test_cancelled_read_closes_its_connection(
    stalled: tuple[StalledStorage, BlobStore],
) -> None:
    storage, store = stalled
    reading = asyncio.create_task(store.read("half"))
    await storage.began.wait()
    reading.cancel()
    await asyncio.wait({reading})
    assert reading.cancelled()
    # The task, which is still referred to, keeps what it had opened from the garbage collector.
    await asyncio.wait_for(storage.left.wait(), 30)
