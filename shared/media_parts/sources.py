"""Where files of messages come from: stored media of the caller, and URLs that it names."""

import binascii
from base64 import b64decode
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from shared.deadline import remaining_seconds, time_limit
from shared.errors import (
    DeadlineExceeded,
    ForbiddenAddress,
    InvalidRequest,
    NotFound,
    ProviderUnavailable,
    TooLarge,
)
from shared.media_parts.files import MAX_BYTES, Budget, LoadedFile, check_file, file_name
from shared.outbound import Downloads
from shared.storage import MediaFormat, MediaStore, Origin, formats

FETCH_SECONDS = 30.0
"""Maximum seconds that fetching one URL takes."""

MAX_FETCHED_BYTES = max(MAX_BYTES.values())


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file that was fetched from a URL.

    Attributes:
        file: The file.
        media_format: Its format.
        origin: Where it comes from, should it be stored.
    """

    file: LoadedFile
    media_format: MediaFormat
    origin: Origin


async def read_medium(
    media: MediaStore, principal: str, media_id: str, field: str, budget: Budget, *, is_image: bool
) -> LoadedFile:
    """Reads a stored medium of the caller's.

    Args:
        media: The stored media.
        principal: The caller.
        media_id: The medium.
        field: The field that names it, for errors.
        budget: The room for files.
        is_image: Whether it has to be a picture.

    Raises:
        NotFound: The caller has none of that id.
        InvalidRequest: It may not be part of a message, or there is no room for it.
        NotConfigured: There is no storage.
    """
    try:
        record = await media.find(principal, media_id)
    except NotFound as error:
        raise NotFound(f"{field}: {error.detail}") from error
    check_file(record.content_type, record.size_bytes, field, is_image=is_image)
    budget.take(record.size_bytes, field)
    found = formats.format_of_name(record.object)
    name = file_name(record.origin.name, found) if found else record.file_name
    return LoadedFile(name, record.content_type, await media.read(record))


async def fetch(
    downloads: Downloads, url: str, field: str, budget: Budget, *, is_image: bool
) -> FetchedFile:
    """Fetches a file from a URL.

    Args:
        downloads: Fetches it, under the rules for addresses that others name.
        url: An https or a data URL.
        field: The field that has it, for errors.
        budget: The room for files.
        is_image: Whether it has to be a picture.

    Raises:
        InvalidRequest: It cannot be fetched, may not be part of a message, or there is no room for it.
    """
    if url.startswith("data:"):
        data, declared = _decode(url, field)
        name = ""
    else:
        data, declared = await _download(downloads, url, field)
        name = unquote(urlsplit(url).path.rpartition("/")[2])
    found = formats.detect(data[: formats.HEAD_BYTES], declared)
    if found is None:
        check_file(declared or "no known type", 0, field, is_image=is_image)
        raise InvalidRequest.for_field(field, f"this is called {declared}, but its bytes are not")
    check_file(found.content_type, len(data), field, is_image=is_image)
    budget.take(len(data), field)
    origin = Origin.of_file(name)
    file = LoadedFile(file_name(origin.name, found), found.content_type, data)
    return FetchedFile(file, found, origin)


async def _download(downloads: Downloads, url: str, field: str) -> tuple[bytes, str]:
    try:
        async with time_limit(FETCH_SECONDS):
            return await downloads.fetch(url, MAX_FETCHED_BYTES)
    except (ForbiddenAddress, TooLarge, ProviderUnavailable) as error:
        raise InvalidRequest.for_field(field, error.detail) from error
    except DeadlineExceeded as error:
        if not remaining_seconds():
            raise
        complaint = f"the URL did not answer within {FETCH_SECONDS:.0f} seconds"
        raise InvalidRequest.for_field(field, complaint) from error


def _decode(url: str, field: str) -> tuple[bytes, str]:
    """Returns the bytes and the media type of a data URL (RFC 2397)."""
    head, comma, content = url.partition(",")
    parameters = head.removeprefix("data:").split(";")
    try:
        if not comma:
            raise ValueError("it has no comma")
        if "base64" in parameters[1:]:
            return b64decode(unquote(content), validate=True), parameters[0].lower() or "text/plain"
        return unquote_to_bytes(content), parameters[0].lower() or "text/plain"
    except (ValueError, binascii.Error) as error:
        raise InvalidRequest.for_field(field, "the data URL is malformed") from error
