"""Objects as blobs of Azure Blob Storage; importing this module imports the Azure SDK."""

import asyncio
import io
from base64 import b64encode
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.storage.blob import BlobBlock, StorageErrorCode
from azure.storage.blob.aio import BlobClient, StorageStreamDownloader

from shared.errors import StorageUnavailable
from shared.storage.blob_account import BlobAccount
from shared.storage.blob_answers import (
    AnswerTime,
    content_settings,
    info_of,
    metadata_of,
    written,
)
from shared.storage.blocks import BLOCK_BYTES, blocks_of, chain, pieces_of
from shared.storage.links import BlobLinkSigner, LinkSigner
from shared.storage.objects import (
    ContentHeaders,
    LogFull,
    ObjectChanged,
    ObjectConflict,
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    ObjectPage,
    ObjectStream,
    RangeNotSatisfiable,
    check_name,
)
from shared.storage.retries import Backoff, retry_write

T = TypeVar("T")
_Blocks = list[BlobBlock]

PARALLEL_BLOCKS = 4
"""Blocks of one upload on their way at a time; with the one being filled they bound its memory."""

MAX_READS = 10
"""Maximum reads of an object that is replaced while it is read."""

_UNMET = frozenset(
    {
        StorageErrorCode.BLOB_ALREADY_EXISTS,
        StorageErrorCode.CONDITION_NOT_MET,
        StorageErrorCode.APPEND_POSITION_CONDITION_NOT_MET,
        StorageErrorCode.INVALID_BLOB_TYPE,
        # Whoever commits first throws away what others have staged.
        StorageErrorCode.INVALID_BLOCK_LIST,
    }
)
"""What the service says where a condition of ours does not hold."""

_ABSENT = frozenset({StorageErrorCode.BLOB_NOT_FOUND, StorageErrorCode.CONTAINER_NOT_FOUND})
_WRITE = "write"
"""Metadata with a random value for each write: by it a repeat knows what its first attempt has done."""

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
        self._account = account
        self._signer = signer or BlobLinkSigner(account, container)
        self._container = account.service.get_container_client(container)

    async def create(
        self,
        name: str,
        data: bytes,
        headers: ContentHeaders | None = None,
    ) -> ObjectInfo:
        """Stores a new object at once, or not at all."""
        if len(data) > BLOCK_BYTES:
            return await self.upload(name, pieces_of(data), headers)
        blob = self._blob(name)

        async def put(metadata: dict[str, str]) -> dict[str, Any]:
            return await blob.upload_blob(
                data,
                length=len(data),
                overwrite=False,
                content_settings=content_settings(headers),
                metadata={**metadata_of(headers), **metadata},
                retry_total=0,
            )

        return await self._write_once(name, len(data), put, ObjectExists(name))

    async def upload(
        self,
        name: str,
        chunks: AsyncIterable[bytes],
        headers: ContentHeaders | None = None,
    ) -> ObjectInfo:
        """Stores a new object of unknown length.

        The SDK's own upload of streams names blocks after their position, so that two writers of one
        name would mix theirs. These have random names: what is committed is what one writer sent.
        """
        blob = self._blob(name)
        blocks = blocks_of(chunks)
        first = await anext(blocks, b"")
        second = await anext(blocks, None)
        if second is None:
            return await self.create(name, first, headers)
        staged, size = await self._stage(blob, chain(first, second, blocks))

        async def commit(metadata: dict[str, str]) -> dict[str, Any]:
            return await blob.commit_block_list(
                staged,
                content_settings=content_settings(headers),
                metadata={**metadata_of(headers), **metadata},
                match_condition=MatchConditions.IfMissing,
                retry_total=0,
            )

        return await self._write_once(name, size, commit, ObjectExists(name))

    async def replace(self, name: str, data: bytes, etag: str) -> ObjectInfo:
        """Replaces an object that has not changed."""
        blob = self._blob(name)
        unchanged: dict[str, Any] = {
            "etag": f'"{etag}"',
            "match_condition": MatchConditions.IfNotModified,
            "retry_total": 0,
        }
        staged: _Blocks = []
        if len(data) > BLOCK_BYTES:
            staged, _ = await self._stage(blob, pieces_of(data))

        async def put(metadata: dict[str, str]) -> dict[str, Any]:
            if staged:
                return await blob.commit_block_list(staged, metadata=metadata, **unchanged)
            return await blob.upload_blob(
                data, length=len(data), overwrite=True, metadata=metadata, **unchanged
            )

        return await self._write_once(name, len(data), put, ObjectChanged(name))

    async def append(self, name: str, data: bytes, position: int) -> int:
        """Appends to a log whose size the caller knows."""
        blob = self._blob(name)

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
                await self._write(name, begin, ObjectExists(name))
        await self._write(name, add, ObjectChanged(name))
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
        blob = self._blob(name)
        answer = AnswerTime()
        with self._errors(name):
            properties = await blob.get_blob_properties(raw_response_hook=answer)
        return info_of(properties, seen_at=answer.sent_at)

    @asynccontextmanager
    async def open(
        self, name: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[ObjectStream]:
        """Reads an object, or a range of it, piece by piece."""
        blob = self._blob(name)
        # Without an offset the SDK knows how to read what is empty.
        offset = None if start == 0 and end is None else start
        length = None if end is None else end - start + 1
        answer = AnswerTime()
        try:
            with self._errors(name):
                reader = await blob.download_blob(
                    offset, length, max_concurrency=1, raw_response_hook=answer
                )
        except _EmptyRange as error:
            info = await self.describe(name)
            if start > 0:
                raise RangeNotSatisfiable(info.size) from error
            yield ObjectStream(info, _nothing())
            return
        size = int((reader.properties.content_range or "/0").rpartition("/")[2])
        if 0 < start >= size:
            raise RangeNotSatisfiable(size)
        info = info_of(reader.properties, size, answer.sent_at)
        yield ObjectStream(info, self._chunks(name, reader))

    async def list(self, prefix: str, limit: int = 100, cursor: str | None = None) -> ObjectPage:
        """Lists objects whose names begin with a prefix, in the order of their names."""
        pages: Any = self._container.list_blobs(
            name_starts_with=prefix, results_per_page=limit
        ).by_page(cursor)
        try:
            with self._errors(prefix):
                page = await _first(pages)
                objects = tuple([info_of(blob) async for blob in page])
        except (ObjectMissing, StopAsyncIteration):
            # The container comes with the first object.
            return ObjectPage((), None)
        return ObjectPage(objects, pages.continuation_token or None)

    async def delete(self, name: str) -> bool:
        """Deletes an object and says whether there was one."""
        blob = self._blob(name)
        backoff = Backoff(self._account.attempts)
        is_repeat = False
        while True:
            try:
                with self._errors(name):
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

    async def _stage(self, blob: BlobClient, blocks: AsyncIterator[bytes]) -> tuple[_Blocks, int]:
        block_ids = []
        size = 0
        places = asyncio.Semaphore(PARALLEL_BLOCKS)
        sending: list[asyncio.Task[None]] = []
        has_failed = False

        async def send(block_id: str, block: bytes) -> None:
            nonlocal has_failed

            async def put() -> Any:
                return await self._write(
                    blob.blob_name,
                    lambda: blob.stage_block(block_id, block, length=len(block), retry_total=0),
                )

            try:
                await retry_write(put, self._account.attempts)
            except BaseException:
                has_failed = True
                raise
            finally:
                places.release()

        try:
            async for block in blocks:
                block_ids.append(b64encode(uuid4().bytes).decode())
                size += len(block)
                await places.acquire()
                if has_failed:
                    break
                sending.append(asyncio.create_task(send(block_ids[-1], block)))
            await asyncio.gather(*sending)
        except asyncio.CancelledError:
            for task in sending:
                task.cancel()
            raise
        finally:
            # After a failure the other blocks are sent to their end: a request that is cancelled leaves
            # its connection half closed.
            await asyncio.gather(*sending, return_exceptions=True)
        return [BlobBlock(block_id) for block_id in block_ids], size

    async def _write_once(
        self,
        name: str,
        size: int,
        write: Callable[[dict[str, str]], Awaitable[dict[str, Any]]],
        unmet: ObjectConflict,
    ) -> ObjectInfo:
        """Makes a conditional write, and knows it again where only the answer was lost.

        Args:
            name: The object.
            size: Its bytes.
            write: Makes one attempt that stores the metadata it is given.
            unmet: Raised where the condition did not hold for any attempt.
        """
        metadata = {_WRITE: uuid4().hex}
        backoff = Backoff(self._account.attempts)
        is_repeat = False
        while True:
            try:
                answer = await self._write(name, lambda: write(metadata), unmet)
            except ObjectConflict:
                if is_repeat and (ours := await self._find(name, metadata[_WRITE])):
                    return ours
                raise
            except StorageUnavailable as error:
                is_repeat = True
                await backoff.wait(error)
            else:
                return written(name, size, answer)

    async def _find(self, name: str, write: str) -> ObjectInfo | None:
        """Returns an object if it was stored by one write."""
        try:
            info = await self.describe(name)
        except ObjectMissing:
            return None
        return info if info.metadata.get(_WRITE) == write else None

    async def _write(
        self,
        name: str,
        write: Callable[[], Awaitable[T]],
        unmet: ObjectConflict | None = None,
    ) -> T:
        """Writes, after making the container where it is missing.

        Args:
            name: The object.
            write: Makes one attempt.
            unmet: Raised where the attempt's condition does not hold, or its object is missing.
        """
        try:
            with self._errors(name, unmet):
                try:
                    return await write()
                except ResourceNotFoundError as error:
                    if _code(error) != StorageErrorCode.CONTAINER_NOT_FOUND:
                        raise
                with suppress(ResourceExistsError):
                    await self._container.create_container()
                return await write()
        except ObjectMissing as error:
            raise unmet or error from error

    @contextmanager
    def _errors(self, name: str, unmet: ObjectConflict | None = None) -> Iterator[None]:
        with self._account.errors():
            try:
                yield
            except HttpResponseError as error:
                code = _code(error)
                if code in _ABSENT or (code is None and error.status_code == 404):
                    raise ObjectMissing(name) from error
                if code == StorageErrorCode.BLOCK_COUNT_EXCEEDS_LIMIT:
                    raise LogFull(name) from error
                if unmet is not None and code in _UNMET:
                    raise unmet from error
                if error.status_code == 416:
                    raise _EmptyRange from error
                raise

    async def _chunks(
        self, name: str, reader: StorageStreamDownloader[bytes]
    ) -> AsyncIterator[bytes]:
        chunks = aiter(reader.chunks())
        while True:
            # The SDK reads further pieces only while the object is as it was for the first.
            with self._errors(name, ObjectChanged(name)):
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
            yield chunk

    def _blob(self, name: str) -> BlobClient:
        return self._container.get_blob_client(check_name(name))


class _EmptyRange(Exception):
    """Raised where a range begins behind the end of an object."""


def _code(error: HttpResponseError) -> StorageErrorCode | None:
    code: StorageErrorCode | None = getattr(error, "error_code", None)
    return code


async def _first(pages: Any) -> Any:
    try:
        return await anext(pages)
    except HttpResponseError as error:
        if _code(error) in _BAD_CURSOR:
            raise ValueError("This cursor is not one that a listing gave.") from error
        raise


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield
