"""Converts Blob Storage responses to `ObjectInfo`; importing this module imports the Azure SDK."""

from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from azure.storage.blob import BlobProperties, ContentSettings

from shared.storage.objects import ContentHeaders, ObjectInfo


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
