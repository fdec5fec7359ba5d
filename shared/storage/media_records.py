"""Records of media: what the index knows of each."""

import io
from datetime import datetime

from pydantic import ConfigDict

from shared.storage.formats import MediaFormat, MediaKind
from shared.storage.ids import made_at
from shared.storage.records import Record


class MediaRecord(Record):
    """What the index knows of one medium.

    Attributes:
        name: The object in the container of media.
        thumbnail: Object of a still picture of it.
        is_deleted: Whether its deletion has begun.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    kind: MediaKind
    name: str
    content_type: str
    size_bytes: int
    created_at: datetime
    width: int | None = None
    height: int | None = None
    thumbnail: str | None = None
    is_deleted: bool = False


def measure(head: bytes) -> tuple[int, int] | tuple[None, None]:
    """Returns the width and height that a picture's first bytes tell, in pixels."""
    # Imported late: only those who store pictures need it.
    import imagesize

    try:
        width, height = imagesize.get(io.BytesIO(head))
    except Exception:  # noqa: BLE001  # Whatever it stumbles over, the picture is stored and paid for.
        return None, None
    return (int(width), int(height)) if width > 0 and height > 0 else (None, None)


def make_record(
    media_id: str,
    name: str,
    media_format: MediaFormat,
    size: int,
    head: bytes,
    thumbnail: str | None,
) -> MediaRecord:
    """Returns the record of a stored medium.

    Args:
        media_id: Its id.
        name: Its object.
        media_format: Its format.
        size: Its bytes.
        head: Its first bytes, which a picture is measured by.
        thumbnail: Object of a still picture of it.
    """
    width, height = measure(head) if has_size(media_format) and head else (None, None)
    return MediaRecord(
        id=media_id,
        kind=media_format.kind,
        name=name,
        content_type=media_format.content_type,
        size_bytes=size,
        created_at=made_at(media_id),
        width=width,
        height=height,
        thumbnail=thumbnail,
    )


def has_size(media_format: MediaFormat) -> bool:
    """Returns whether media of a format are measured."""
    return media_format.kind == "image"


def record_name(owner: str, media_id: str) -> str:
    """Returns the name of a medium's record; ``owner`` is what stands for its principal in names."""
    return f"media/{owner}/{media_id}.json"
