"""Media: pictures, clips, videos and texts, each an object and the record that lists it."""

from shared.storage.media.index import MediaPage, MediaRecord, Origin
from shared.storage.media.link_origin import media_origin
from shared.storage.media.objects import cache_control, served_type
from shared.storage.media.store import MediaStore
from shared.storage.media.view import MAX_FRESH_MEDIA, Media, MediaInfo, find_media

__all__ = [
    "MAX_FRESH_MEDIA",
    "Media",
    "MediaInfo",
    "MediaPage",
    "MediaRecord",
    "MediaStore",
    "Origin",
    "cache_control",
    "find_media",
    "media_origin",
    "served_type",
]
