"""Media as callers see them, and their links in JSON that was stored a while ago."""

from collections.abc import Iterator, Mapping
from typing import Any, NotRequired

from typing_extensions import TypedDict

from shared.storage.ids import is_id

_KEYS = {"id", "url", "content_type", "expires_at"}
"""What tells a medium apart in the JSON of a result."""


class Media(TypedDict):
    """A stored picture, clip or video.

    Attributes:
        url: Opens in a browser as it is.
        expires_at: When ``url`` stops to; null for one that never does. ``/media/{id}`` gives a new one.
    """

    id: str
    url: str
    content_type: str
    size_bytes: int
    created_at: str
    expires_at: str | None
    width: NotRequired[int]
    height: NotRequired[int]
    thumbnail_url: NotRequired[str]


def find_media(document: Any) -> Iterator[dict[str, Any]]:
    """Yields the media that stand somewhere in a JSON value."""
    if isinstance(document, list):
        for item in document:
            yield from find_media(item)
    elif isinstance(document, dict):
        if document.keys() >= _KEYS and is_id(str(document["id"])):
            yield document
            return
        for value in document.values():
            yield from find_media(value)


def with_links(document: Any, fresh: Mapping[str, Media]) -> Any:
    """Returns a JSON value with other links to the media in it, also where its texts quote them.

    Args:
        document: The value.
        fresh: The media by id, as they are now.
    """
    links: dict[str, str] = {}
    for old in find_media(document):
        if new := fresh.get(old["id"]):
            links[old["url"]] = new["url"]
            if "thumbnail_url" in old and "thumbnail_url" in new:
                links[old["thumbnail_url"]] = new["thumbnail_url"]
    return _replace(document, fresh, links) if links else document


def _replace(document: Any, fresh: Mapping[str, Media], links: Mapping[str, str]) -> Any:
    if isinstance(document, str):
        for old, new in links.items():
            document = document.replace(old, new)
        return document
    if isinstance(document, list):
        return [_replace(item, fresh, links) for item in document]
    if not isinstance(document, dict):
        return document
    if document.keys() >= _KEYS and document["id"] in fresh:
        return dict(fresh[document["id"]])
    return {key: _replace(value, fresh, links) for key, value in document.items()}
