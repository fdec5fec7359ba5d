"""Media that tools take: the caller's own, by id, and small enough to send on."""

from typing import Annotated

from pydantic import Field

from shared.deadline import Deadline
from shared.errors import InvalidRequest, NotFound
from shared.openai_service import InputFile
from shared.storage import MediaKind, MediaRecord, MediaStore

MAX_INPUT_BYTES = 25 * 1024 * 1024
"""Of one file, as the provider limits transcription; the whole file is held in memory."""

MediaId = Annotated[str, Field(min_length=1, max_length=100)]


async def read_input(
    media: MediaStore,
    principal: str,
    field: str,
    media_id: str,
    kinds: tuple[MediaKind, ...],
    deadline: Deadline,
) -> InputFile:
    """Returns one of the caller's media as a file for the provider.

    Args:
        media: Where it is.
        principal: Whose it has to be.
        field: The argument that names it, for the error.
        media_id: Its id.
        kinds: What it may be.
        deadline: The budget of the request.

    Raises:
        InvalidRequest: It does not exist, is something else, or is too large.
    """
    try:
        record = await deadline.wait_for(media.find(principal, media_id))
    except NotFound as error:
        raise InvalidRequest.for_field(field, error.detail) from error
    if record.kind not in kinds:
        raise InvalidRequest.for_field(
            field, f"'{media_id}' is {record.content_type}; give one of {' or '.join(kinds)}"
        )
    if record.size_bytes > MAX_INPUT_BYTES:
        raise InvalidRequest.for_field(
            field,
            f"'{media_id}' has {record.size_bytes} bytes; at most {MAX_INPUT_BYTES} are taken",
        )
    data = await deadline.wait_for(media.read(record))
    return InputFile(_file_name(record), record.content_type, data)


def _file_name(record: MediaRecord) -> str:
    return record.name.rpartition("/")[2]
