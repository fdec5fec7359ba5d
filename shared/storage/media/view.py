"""Media as callers see them in JSON, and fresh links in stored results."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NotRequired

from typing_extensions import TypedDict

from shared.storage.formats import MediaKind
from shared.storage.ids import is_id

_KEYS = {"id", "url", "content_type", "expires_at"}
"""What tells a medium apart in the JSON of a result."""

MAX_FRESH_MEDIA = 100
"""That one answer shows with fresh links: each costs a read of storage."""


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


class MediaInfo(Media):
    """A stored picture, clip or video, and where it comes from.

    Attributes:
        name: A short name of words and hyphens.
        tool: The tool that made it; null for uploads.
        model: The model that made it; null for uploads.
        prompt: What the model was asked for, or the text that it spoke, cut to 1,000 characters.
        cost_usd: Its cost in US dollars; null where it is not known.
    """

    kind: MediaKind
    name: str
    tool: str | None
    model: str | None
    prompt: str | None
    cost_usd: float | None


def find_media(document: Any) -> Iterator[dict[str, Any]]:
    """Yields the media that stand somewhere in a JSON value."""
    if isinstance(document, list):
        for item in document:
            yield from find_media(item)
    elif isinstance(document, dict):
        if _is_medium(document):
            yield document
            return
        for value in document.values():
            yield from find_media(value)


def with_links(document: Any, fresh: Mapping[str, Media], within: Any) -> Any:
    """Returns a JSON value with other links to the media in it, also where its texts quote them.

    Each text is searched once: what replaces a link is not searched again, so that the value grows by
    no more than the new links are longer than the old ones.

    Args:
        document: The value.
        fresh: The media by id, as they are now.
        within: The parts of it whose media name the links to replace.
    """
    links: dict[str, str] = {}
    for old in find_media(within):
        if new := fresh.get(old["id"]):
            links[old["url"]] = new["url"]
            if "thumbnail_url" in old and "thumbnail_url" in new:
                links[old["thumbnail_url"]] = new["thumbnail_url"]
    if not links:
        return document
    # The longest first: one link may be the beginning of another.
    pattern = re.compile("|".join(map(re.escape, sorted(links, key=len, reverse=True))))
    return _replace(document, fresh, links, pattern)


def _is_medium(document: Mapping[str, Any]) -> bool:
    # Models and other servers can write such an object: its links have to be links to that medium,
    # or any text could be named one and replaced in the messages beside it.
    if not document.keys() >= _KEYS or not isinstance(document["id"], str):
        return False
    urls = (document["url"], document.get("thumbnail_url", document["url"]))
    return is_id(document["id"]) and all(
        isinstance(url, str) and "://" in url and document["id"] in url for url in urls
    )


def _replace(
    document: Any, fresh: Mapping[str, Media], links: Mapping[str, str], pattern: re.Pattern[str]
) -> Any:
    if isinstance(document, str):
        return pattern.sub(lambda found: links[found.group()], document)
    if isinstance(document, list):
        return [_replace(item, fresh, links, pattern) for item in document]
    if not isinstance(document, dict):
        return document
    if _is_medium(document) and document["id"] in fresh:
        return dict(fresh[document["id"]])
    return {key: _replace(value, fresh, links, pattern) for key, value in document.items()}
