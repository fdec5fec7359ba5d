"""Media that tools take: the caller's own, by id, and small enough to send on."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from shared.errors import InvalidRequest, NotFound
from shared.openai_service import InputFile
from shared.parallel import gather_limited
from shared.storage import MediaKind, MediaRecord, MediaStore

MAX_INPUT_BYTES = 25 * 1024 * 1024
"""Maximum bytes of one file, as the provider limits transcription."""

MAX_TOTAL_BYTES = 50 * 1024 * 1024
"""Maximum bytes of all files of one call, which are held in memory together."""

PARALLEL_READS = 4


def _refuse_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Must not be blank")
    return text


NotBlank = AfterValidator(_refuse_blank)
"""Constraint of a text that a provider is paid to work on: it is not blank."""

MediaId = Annotated[str, Field(min_length=1, max_length=100)]


async def read_inputs(
    media: MediaStore,
    principal: str,
    named: Sequence[tuple[str, str]],
    kinds: tuple[MediaKind, ...],
) -> list[InputFile]:
    """Returns some of the caller's media as files for the provider.

    Args:
        media: Where they are.
        principal: Whose they have to be.
        named: The arguments that name them, for the error, and their ids.
        kinds: What they may be.

    Raises:
        InvalidRequest: One does not exist, is something else, or is too large, or all together are.
    """
    records = await gather_limited(
        PARALLEL_READS, (_find(media, principal, field, id_, kinds) for field, id_ in named)
    )
    total = sum(record.size_bytes for record in records)
    if total > MAX_TOTAL_BYTES:
        field = named[0][0].partition(".")[0]
        complaint = f"they have {total} bytes together; at most {MAX_TOTAL_BYTES} are taken"
        raise InvalidRequest.for_field(field, complaint)
    contents = await gather_limited(PARALLEL_READS, (media.read(each) for each in records))
    return [
        InputFile(record.file_name, record.content_type, content)
        for record, content in zip(records, contents, strict=True)
    ]


async def _find(
    media: MediaStore, principal: str, field: str, media_id: str, kinds: tuple[MediaKind, ...]
) -> MediaRecord:
    try:
        record = await media.find(principal, media_id)
    except NotFound as error:
        raise InvalidRequest.for_field(field, error.detail) from error
    if record.kind not in kinds:
        complaint = f"'{media_id}' is {record.content_type}; give {' or '.join(kinds)}"
        raise InvalidRequest.for_field(field, complaint)
    if record.size_bytes > MAX_INPUT_BYTES:
        complaint = (
            f"'{media_id}' has {record.size_bytes} bytes; at most {MAX_INPUT_BYTES} are taken"
        )
        raise InvalidRequest.for_field(field, complaint)
    return record
