"""Objects as blobs of Azure Blob Storage."""

import io
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import datetime
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, StorageErrorCode
from azure.storage.blob.aio import StorageStreamDownloader

from shared.errors import StorageUnavailable
from shared.storage.blob.account import BLOCK_BYTES, BlobAccount
from shared.storage.blob.blocks import BlockUpload, blocks_of, chain, pieces_of
from shared.storage.blob.container import (
    AnswerTime,
    BlobContainer,
    EmptyRange,
    code_of,
    content_settings,
    info_of,
    metadata_of,
)
from shared.storage.blob.links import BlobLinkSigner
from shared.storage.links import LinkSigner
from shared.storage.objects import (
    ContentHeaders,
    ObjectChanged,
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    ObjectPage,
    ObjectStream,
    RangeNotSatisfiable,
    check_name,
)
from shared.storage.retries import Backoff

MAX_READS = 10
"""Maximum reads of an object that is replaced while it is read."""

_BAD_CURSOR = frozenset(
    {StorageErrorCode.INVALID_QUERY_PARAMETER_VALUE, StorageErrorCode.OUT_OF_RANGE_INPUT}
)


class BlobStore:
    """Objects of one container of an account; the container is made when first written to.

    Args:
        account: The account, which whoever opened it closes.
        container: The container's name.
        signer: Signs links to the app's own route; without it links lead to the account itself.
    """

    def __init__(
        self, account: BlobAccount, container: str, signer: LinkSigner | None = None
    ) -> None:
        self._signer = signer or BlobLinkSigner(account, container)
        self._container = BlobContainer(account, container)

    async def create(
        self,
        name: str,
        data: bytes,
        headers: ContentHeaders | None = None,
    ) -> ObjectInfo:
        """Stores a new object at once, or not at all."""
        if len(data) > BLOCK_BYTES:
            return await self.upload(name, pieces_of(data), headers)
        blob = self._container.blob(name)

        async def put(metadata: dict[str, str]) -> dict[str, Any]:
            return await blob.upload_blob(
                data,
                length=len(data),
                overwrite=False,
                content_settings=content_settings(headers),
                metadata={**metadata_of(headers), **metadata},
                retry_total=0,
            )

        return await self._container.write_once(name, len(data), put, ObjectExists(name))

    async def upload(
        self,
        name: str,
        chunks: AsyncIterable[bytes],
        headers: ContentHeaders | None = None,
    ) -> ObjectInfo:
        """Stores a new object of unknown length."""
        blob = self._container.blob(name)
        blocks = blocks_of(chunks)
        first = await anext(blocks, b"")
        second = await anext(blocks, None)
        if second is None:
            return await self.create(name, first, headers)
        staged = BlockUpload(self._container, name)
        await staged.stage(chain(first, second, blocks))

        async def commit(metadata: dict[str, str]) -> dict[str, Any]:
            return await blob.commit_block_list(
                staged.blocks,
                content_settings=content_settings(headers),
                metadata={**metadata_of(headers), **metadata},
                match_condition=MatchConditions.IfMissing,
                retry_total=0,
            )

        return await self._container.write_once(name, staged.size, commit, ObjectExists(name))

    async def replace(self, name: str, data: bytes, etag: str) -> ObjectInfo:
        """Replaces an object that has not changed."""
        blob = self._container.blob(name)
        unchanged: dict[str, Any] = {
            "etag": f'"{etag}"',
            "match_condition": MatchConditions.IfNotModified,
            "retry_total": 0,
        }
        staged: list[BlobBlock] = []
        if len(data) > BLOCK_BYTES:
            upload = BlockUpload(self._container, name)
            await upload.stage(pieces_of(data))
            staged = upload.blocks

        async def put(metadata: dict[str, str]) -> dict[str, Any]:
            if staged:
                return await blob.commit_block_list(staged, metadata=metadata, **unchanged)
            return await blob.upload_blob(
                data, length=len(data), overwrite=True, metadata=metadata, **unchanged
            )

        return await self._container.write_once(name, len(data), put, ObjectChanged(name))

    async def append(self, name: str, data: bytes, position: int) -> int:
        """Appends to a log whose size the caller knows."""
        blob = self._container.blob(name)

        async def begin() -> dict[str, Any]:
            return await blob.create_append_blob(
                match_condition=MatchConditions.IfMissing, retry_total=0
            )

        async def add() -> dict[str, Any]:
            return await blob.append_block(
                # aiohttp warns of large bytes that are not a file, which it would send in one go.
                io.BytesIO(data),
                length=len(data),
                appendpos_condition=position,
                retry_total=0,
            )

        if position == 0:
            # Whoever else begins the log at the same time makes the same empty one.
            with suppress(ObjectExists):
                await self._container.write(name, begin, ObjectExists(name))
        await self._container.write(name, add, ObjectChanged(name))
        return position + len(data)

    async def read(self, name: str) -> tuple[bytes, ObjectInfo]:
        """Returns a whole object, as it was at one moment."""
        for _ in range(MAX_READS - 1):
            with suppress(ObjectChanged):
                return await self._read(name)
        return await self._read(name)

    async def _read(self, name: str) -> tuple[bytes, ObjectInfo]:
        async with self.open(name) as stream:
            return b"".join([chunk async for chunk in stream.chunks]), stream.info

    async def describe(self, name: str) -> ObjectInfo:
        """Returns what is known of an object."""
        return await self._container.describe(name)

    @asynccontextmanager
    async def open(
        self, name: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[ObjectStream]:
        """Reads an object, or a range of it, piece by piece."""
        blob = self._container.blob(name)
        # Without an offset the SDK knows how to read what is empty.
        offset = None if start == 0 and end is None else start
        length = None if end is None else end - start + 1
        with closing(_Answers()) as answers:
            try:
                with self._container.errors(name):
                    reader = await blob.download_blob(
                        offset, length, max_concurrency=1, raw_response_hook=answers
                    )
            except EmptyRange as error:
                info = await self.describe(name)
                if start > 0:
                    raise RangeNotSatisfiable(info.size) from error
                yield ObjectStream(info, _nothing())
                return
            size = int((reader.properties.content_range or "/0").rpartition("/")[2])
            if 0 < start >= size:
                raise RangeNotSatisfiable(size)
            info = info_of(reader.properties, size, answers.sent_at)
            yield ObjectStream(info, self._chunks(name, reader))

    async def list(self, prefix: str, limit: int = 100, cursor: str | None = None) -> ObjectPage:
        """Lists objects whose names begin with a prefix, in the order of their names."""
        pages: Any = self._container.client.list_blobs(
            name_starts_with=prefix, results_per_page=limit
        ).by_page(cursor)
        try:
            with self._container.errors(prefix):
                page = await _first(pages)
                objects = tuple([info_of(blob) async for blob in page])
        except (ObjectMissing, StopAsyncIteration):
            # The container comes with the first object.
            return ObjectPage((), None)
        return ObjectPage(objects, pages.continuation_token or None)

    async def delete(self, name: str) -> bool:
        """Deletes an object and says whether there was one."""
        blob = self._container.blob(name)
        backoff = Backoff(self._container.attempts)
        is_repeat = False
        while True:
            try:
                with self._container.errors(name):
                    await blob.delete_blob(retry_total=0)
            except ObjectMissing:
                # A repeat finds it gone where only the answer to the first attempt was lost.
                return is_repeat
            except StorageUnavailable as error:
                is_repeat = True
                await backoff.wait(error)
            else:
                return True

    async def link(self, name: str, expires_at: datetime) -> str:
        """Returns a URL of the app itself, or one with a shared access signature for reading only."""
        return await self._signer.sign(check_name(name), expires_at)

    async def _chunks(
        self, name: str, reader: StorageStreamDownloader[bytes]
    ) -> AsyncIterator[bytes]:
        chunks = aiter(reader.chunks())
        while True:
            # The SDK reads further pieces only while the object is as it was for the first.
            with self._container.errors(name, ObjectChanged(name)):
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
            yield chunk


class _Answers(AnswerTime):
    """Knows storage's answers to one download: the SDK does not close one whose reading is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self._last: Any = None

    def __call__(self, answer: Any) -> None:
        """Takes an answer, as the SDK calls its hooks."""
        super().__call__(answer)
        self._last = answer.http_response.internal_response

    def close(self) -> None:
        """Closes the connection of an answer that was not read to its end."""
        if self._last is not None:
            self._last.close()


async def _first(pages: Any) -> Any:
    try:
        return await anext(pages)
    except HttpResponseError as error:
        if code_of(error) in _BAD_CURSOR:
            raise ValueError("This cursor is not one that a listing gave.") from error
        raise


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield
