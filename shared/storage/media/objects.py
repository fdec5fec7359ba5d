"""The objects of media: their names, metadata and contents.

The metadata restore a record that was never written. Whoever has a link can read them, so the principal
and what the medium was made from are encrypted.
"""

import base64
import os
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.settings import Settings
from shared.storage.formats import FORMATS, SVG, TEXT, MediaFormat, MediaKind, format_of_name
from shared.storage.ids import is_id, made_at
from shared.storage.media.index import Origin, has_size
from shared.storage.objects import ContentHeaders, ObjectExists, ObjectMissing, unreadable
from shared.storage.retries import Backoff
from shared.storage.service import Storage
from shared.storage.shared_keys import SharedKey

_MEASURED_BYTES = 256 * 1024
"""Bytes of a picture in which its size is looked for; in a JPEG it follows what the camera wrote."""

OWNER = "owner"
"""Metadata of an object: whose it is and where it comes from, sealed."""

THUMBNAIL = "thumbnail"
"""Metadata of a video's object: the object of its thumbnail."""

KEY_OBJECT = "media-owners/key"
"""Object of the state container; without it media that lack a record cannot be given back."""

FILE_ROOT = "files"
"""Folder of documents; those of the other kinds are settings."""

THUMBNAIL_SUFFIX = "-thumbnail"

_NONCE_BYTES = 12
_THUMBNAIL_CODE = 0x80

Content = bytes | AsyncIterable[bytes]


@dataclass(frozen=True, slots=True)
class Upload:
    """An object of a medium that is to be stored.

    Attributes:
        name: The object.
        media_format: Its format.
        metadata: What is kept with it.
    """

    name: str
    media_format: MediaFormat
    metadata: Mapping[str, str]


class KeptHead:
    """Chunks of which the first bytes are kept."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = chunks
        self.head = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            if len(self.head) < _MEASURED_BYTES:
                self.head = (self.head + chunk)[:_MEASURED_BYTES]
            yield chunk


def cache_control(lifetime: timedelta, *, is_public: bool = False) -> str:
    """Returns how long caches may keep a medium: no longer than a link to it holds.

    What is deleted is then gone from caches, too.
    """
    seconds = max(0, int(lifetime.total_seconds()))
    return f"{'public' if is_public else 'private'}, max-age={seconds}"


def served_type(media_format: MediaFormat) -> str:
    """Returns the header Content-Type of a medium."""
    is_text = media_format is TEXT
    return f"{media_format.content_type}; charset=utf-8" if is_text else media_format.content_type


def media_headers(
    media_format: MediaFormat, name: str, cache_control: str, metadata: Mapping[str, str]
) -> ContentHeaders:
    """Returns what a medium says of itself when a browser fetches it from Blob Storage."""
    # A drawing may hold scripts, and Blob Storage cannot send the policy that stops them.
    disposition = "attachment" if media_format is SVG else "inline"
    return ContentHeaders(
        content_type=served_type(media_format),
        cache_control=cache_control,
        disposition=f'{disposition}; filename="{name.rpartition("/")[2]}"',
        metadata=metadata,
    )


class MediaObjects:
    """The container of media.

    Args:
        storage: Where they are.
        settings: Names of folders, public URL and lifetime of links.
    """

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._prefix = settings.storage.path_prefix
        self._roots = {
            "image": settings.storage.image_root,
            "audio": settings.storage.audio_root,
            "video": settings.storage.video_root,
            "file": FILE_ROOT,
        }
        # A folder is served by the app itself, whatever is configured for the container.
        self.public_base_url = None if storage.is_local else settings.storage.public_base_url
        """Where everybody can read them; None where they need signed links."""
        self.link_lifetime = timedelta(seconds=settings.storage.url_ttl_seconds)
        """How long a signed link holds."""

    def name(
        self,
        media_id: str,
        media_format: MediaFormat,
        kind: MediaKind | None = None,
        suffix: str = "",
    ) -> str:
        """Returns the name of a medium's object.

        Args:
            media_id: The medium.
            media_format: Of the object.
            kind: Of the medium, where the object is of another kind.
            suffix: Tells objects of one medium apart.
        """
        day = f"{made_at(media_id):%Y/%m/%d}"
        folders = (self._prefix, self._roots[kind or media_format.kind], day)
        file = f"{media_id}{suffix}.{media_format.extension}"
        return "/".join([folder for folder in folders if folder] + [file])

    def code(self, name: str) -> tuple[str, int] | None:
        """Returns the medium and the number by which short links tell its objects apart.

        Args:
            name: The object; None is returned for one that was stored under other settings.
        """
        stem = name.rpartition("/")[2].partition(".")[0]
        media_id = stem.removesuffix(THUMBNAIL_SUFFIX)
        media_format = format_of_name(name)
        if media_format is None or not is_id(media_id):
            return None
        code = FORMATS.index(media_format) | (_THUMBNAIL_CODE if stem != media_id else 0)
        return (media_id, code) if self.decode(media_id, code) == name else None

    def decode(self, media_id: str, code: int) -> str:
        """Returns the object of a medium to which `code` has given a number."""
        media_format = FORMATS[code & ~_THUMBNAIL_CODE]
        if code & _THUMBNAIL_CODE:
            return self.name(media_id, media_format, "video", THUMBNAIL_SUFFIX)
        return self.name(media_id, media_format)

    def folders(self, first: datetime, last: datetime) -> Sequence[str]:
        """Returns the folders of all media whose ids are of a short time, in a fixed order."""
        days = sorted({f"{moment:%Y/%m/%d}" for moment in (first, last)})
        roots = sorted(set(self._roots.values()))
        return [
            "/".join(part for part in (self._prefix, root, day) if part)
            for day in days
            for root in roots
        ]

    async def store(self, upload: "Upload", content: Content | None) -> tuple[int, bytes]:
        """Stores an object unless there is one, and returns its size and its first bytes."""
        headers = media_headers(
            upload.media_format,
            upload.name,
            cache_control(self.link_lifetime, is_public=self.public_base_url is not None),
            upload.metadata,
        )
        backoff = Backoff()
        while True:
            # Bytes in memory are measured there: what was paid for does not wait for a read.
            if isinstance(content, bytes):
                with suppress(ObjectExists):
                    info = await self._storage.media.create(upload.name, content, headers)
                    return info.size, content[:_MEASURED_BYTES]
            elif content is not None:
                kept = KeptHead(content)
                with suppress(ObjectExists):
                    info = await self._storage.media.upload(upload.name, kept, headers)
                    return info.size, kept.head
            # An earlier run has stored it, perhaps with other bytes.
            try:
                return await self.read_head(upload.name, upload.media_format)
            except ObjectMissing as error:
                contradiction = unreadable(is_transient=isinstance(content, bytes))
                contradiction.__cause__ = error
                await backoff.wait(contradiction)

    async def read_head(self, name: str, media_format: MediaFormat) -> tuple[int, bytes]:
        """Returns the size of an object, and its first bytes where they tell a picture's size.

        Raises:
            ObjectMissing: There is none.
        """
        if not has_size(media_format):
            return (await self._storage.media.describe(name)).size, b""
        async with self._storage.media.open(name, 0, _MEASURED_BYTES - 1) as stream:
            return stream.info.size, b"".join([chunk async for chunk in stream.chunks])


class Sealed(BaseModel):
    """What an object says of itself to us alone.

    Attributes:
        v: The version of what is sealed.
        owner: Hash of the principal, as `owner_key` returns it.
        origin: Where the medium comes from.
    """

    model_config = ConfigDict(frozen=True)

    v: Literal[1] = 1
    owner: str
    origin: Origin


class MediaSeals:
    """Encrypts and decrypts what objects say of themselves (AES-256-GCM), with a key of all instances.

    Args:
        storage: Where the key is; made when first needed.
    """

    def __init__(self, storage: Storage) -> None:
        self._key = SharedKey(storage.state, KEY_OBJECT)

    async def load(self) -> None:
        """Reads the key, once for each instance.

        Raises:
            StorageUnavailable: It cannot be read.
        """
        await self._key.load()

    async def seal(self, owner: str, media_id: str, origin: Origin) -> str:
        """Returns text that opens with the same medium only.

        Args:
            owner: Hash of the principal, as `owner_key` returns it.
            media_id: Id of the medium.
            origin: Where it comes from.

        Raises:
            StorageUnavailable: The key cannot be read.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        plain = Sealed(owner=owner, origin=origin).model_dump_json().encode()
        cipher = AESGCM(await self._key.load())
        return base64.b64encode(nonce + cipher.encrypt(nonce, plain, media_id.encode())).decode()

    async def open(self, text: str, media_id: str) -> Sealed | None:
        """Returns what `seal` was given; None for a text that this key did not seal.

        Args:
            text: From the metadata of an object.
            media_id: Id of the medium.

        Raises:
            StorageUnavailable: The key cannot be read.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        cipher = AESGCM(await self._key.load())
        try:
            data = base64.b64decode(text, validate=True)
            plain = cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], media_id.encode())
            return Sealed.model_validate_json(plain)
        except (ValueError, InvalidTag, ValidationError):
            return None
