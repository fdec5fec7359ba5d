"""Stored media as input of tools: the principal's own, by id, up to a size."""

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
    """Returns media of a principal as files for the provider.

    Args:
        media: The stored media.
        principal: The owner of the media.
        named: The argument that names each, for errors, and its id.
        kinds: The kinds that are allowed.

    Raises:
        InvalidRequest: One does not exist, is of another kind, or is too large, or all together are.
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
