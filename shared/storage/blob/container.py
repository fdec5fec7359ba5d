"""A container of Blob Storage: its requests, its answers, and its errors as this app's.

Importing this module imports the Azure SDK.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from uuid import uuid4

from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.storage.blob import BlobProperties, ContentSettings, StorageErrorCode
from azure.storage.blob.aio import BlobClient

from shared.errors import StorageUnavailable
from shared.storage.blob.account import BlobAccount
from shared.storage.objects import (
    ContentHeaders,
    LogFull,
    ObjectConflict,
    ObjectInfo,
    ObjectMissing,
    check_name,
)
from shared.storage.retries import Backoff

T = TypeVar("T")

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


class EmptyRange(Exception):
    """Raised where a range begins behind the end of an object."""


class BlobContainer:
    """One container of an account, which is made when it is first written to.

    Args:
        account: The account.
        name: The container's name.

    Attributes:
        client: The SDK's client of it.
        attempts: Maximum attempts at an operation outside of `keep_retrying`.
    """

    def __init__(self, account: BlobAccount, name: str) -> None:
        self.attempts = account.attempts
        self._account = account
        self.client = account.service.get_container_client(name)

    def blob(self, name: str) -> BlobClient:
        """Returns the SDK's client of an object."""
        return self.client.get_blob_client(check_name(name))

    async def describe(self, name: str) -> ObjectInfo:
        """Returns what is known of an object.

        Raises:
            ObjectMissing: There is none.
        """
        answer = AnswerTime()
        with self.errors(name):
            properties = await self.blob(name).get_blob_properties(raw_response_hook=answer)
        return info_of(properties, seen_at=answer.sent_at)

    async def write_once(
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
        backoff = Backoff(self.attempts)
        is_repeat = False
        while True:
            try:
                answer = await self.write(name, lambda: write(metadata), unmet)
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

    async def write(
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
            with self.errors(name, unmet):
                try:
                    return await write()
                except ResourceNotFoundError as error:
                    if code_of(error) != StorageErrorCode.CONTAINER_NOT_FOUND:
                        raise
                with suppress(ResourceExistsError):
                    await self.client.create_container()
                return await write()
        except ObjectMissing as error:
            raise unmet or error from error

    @contextmanager
    def errors(self, name: str, unmet: ObjectConflict | None = None) -> Iterator[None]:
        """Turns what the SDK raises into our exceptions.

        Args:
            name: The object.
            unmet: Raised where a condition of the request does not hold.
        """
        with self._account.errors():
            try:
                yield
            except HttpResponseError as error:
                code = code_of(error)
                if code in _ABSENT or (code is None and error.status_code == 404):
                    raise ObjectMissing(name) from error
                if code == StorageErrorCode.BLOCK_COUNT_EXCEEDS_LIMIT:
                    raise LogFull(name) from error
                if unmet is not None and code in _UNMET:
                    raise unmet from error
                if error.status_code == 416:
                    raise EmptyRange from error
                raise


class AnswerTime:
    """Takes the time of storage from its first answer.

    Attributes:
        sent_at: When storage sent it, by our own clock where it did not say; None without an answer.
    """

    def __init__(self) -> None:
        self.sent_at: datetime | None = None

    def __call__(self, answer: Any) -> None:
        """Takes an answer, as the SDK calls its hooks."""
        if self.sent_at is None and answer.http_response.status_code < 300:
            self.sent_at = _parse_date(answer.http_response.headers.get("Date", ""))


def _parse_date(text: str) -> datetime:
    with suppress(ValueError):
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is not None:
            return moment
    return datetime.now(UTC)


def _bare(etag: str) -> str:
    # Listings have them without quotes, headers with.
    return etag.strip('"')


def content_settings(headers: ContentHeaders | None) -> ContentSettings | None:
    """Returns content headers as the SDK takes them."""
    if headers is None:
        return None
    return ContentSettings(
        content_type=headers.content_type,
        cache_control=headers.cache_control,
        content_disposition=headers.disposition,
    )


def metadata_of(headers: ContentHeaders | None) -> dict[str, str]:
    """Returns the metadata among content headers."""
    return {} if headers is None else dict(headers.metadata)


def info_of(
    properties: BlobProperties, size: int | None = None, seen_at: datetime | None = None
) -> ObjectInfo:
    """Returns what the SDK knows of a blob."""
    return ObjectInfo(
        name=properties.name or "",
        size=(properties.size or 0) if size is None else size,
        etag=_bare(properties.etag or ""),
        modified_at=properties.last_modified or datetime.now(UTC),
        seen_at=seen_at,
        metadata=dict(properties.metadata or {}),
    )


def written(name: str, size: int, answer: dict[str, Any]) -> ObjectInfo:
    """Returns what is known of a blob that has just been written."""
    return ObjectInfo(
        name=name,
        size=size,
        etag=_bare(answer["etag"]),
        modified_at=answer["last_modified"],
    )


def code_of(error: HttpResponseError) -> StorageErrorCode | None:
    """Returns what the service says an error is."""
    code: StorageErrorCode | None = getattr(error, "error_code", None)
    return code
