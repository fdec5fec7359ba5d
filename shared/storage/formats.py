"""Formats of media: what they are called, and how their bytes begin."""

import codecs
from dataclasses import dataclass
from typing import Literal

MediaKind = Literal["image", "audio", "video", "file"]


@dataclass(frozen=True, slots=True)
class MediaFormat:
    """A format of images, audio, video or documents.

    Attributes:
        kind: What it holds.
        content_type: Its media type.
        extension: How names of its files end, without the dot.
    """

    kind: MediaKind
    content_type: str
    extension: str


PNG = MediaFormat("image", "image/png", "png")
JPEG = MediaFormat("image", "image/jpeg", "jpg")
WEBP = MediaFormat("image", "image/webp", "webp")
GIF = MediaFormat("image", "image/gif", "gif")
SVG = MediaFormat("image", "image/svg+xml", "svg")
MP3 = MediaFormat("audio", "audio/mpeg", "mp3")
OGG = MediaFormat("audio", "audio/ogg", "ogg")
AAC = MediaFormat("audio", "audio/aac", "aac")
FLAC = MediaFormat("audio", "audio/flac", "flac")
WAV = MediaFormat("audio", "audio/wav", "wav")
PCM = MediaFormat("audio", "audio/pcm", "pcm")
"""Samples without a header, which nothing but the caller's word tells apart from noise."""
M4A = MediaFormat("audio", "audio/mp4", "m4a")
MP4 = MediaFormat("video", "video/mp4", "mp4")
WEBM = MediaFormat("video", "video/webm", "webm")
PDF = MediaFormat("file", "application/pdf", "pdf")
TEXT = MediaFormat("file", "text/plain", "txt")
"""Text in UTF-8 of any kind: Markdown, CSV and JSON begin like any other text."""

FORMATS = (PNG, JPEG, WEBP, GIF, SVG, MP3, OGG, AAC, FLAC, WAV, PCM, M4A, MP4, WEBM, PDF, TEXT)

_TEXT_TYPES = frozenset(
    {"application/json", "application/xml", "application/yaml", "application/x-ndjson"}
)
_BINARY = frozenset(range(0x20)) - frozenset(b"\t\n\r\f\x1b")


def similar(wanted: MediaFormat) -> list[MediaFormat]:
    """Returns the formats of the same kind, the wanted one first: providers do not always keep to it."""
    return [wanted, *(each for each in FORMATS if each.kind == wanted.kind and each != wanted)]


_BY_EXTENSION = {each.extension: each for each in FORMATS}

HEAD_BYTES = 512
"""Number of first bytes that `sniff` looks at."""

_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF8", GIF),
    (b"ID3", MP3),
    (b"OggS", OGG),
    (b"fLaC", FLAC),
    (b"\x1aE\xdf\xa3", WEBM),
    (b"%PDF-", PDF),
)


def sniff(head: bytes) -> MediaFormat | None:
    """Returns the format that the first bytes of a file show, None where they show none.

    Source: https://mimesniff.spec.whatwg.org/
    """
    for beginning, found in _BEGINNINGS:
        if head.startswith(beginning):
            return found
    if head[:4] == b"RIFF":
        return {b"WEBP": WEBP, b"WAVE": WAV}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return M4A if head[8:12] in (b"M4A ", b"M4B ") else MP4
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return _sniff_audio_frame(head)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!--")) and b"<svg" in text):
        return SVG
    return None


def detect(head: bytes, content_type: str) -> MediaFormat | None:
    """Returns the format of a file, None where it is in none.

    Samples and text have no beginning that tells them apart: they have to be called so.

    Args:
        head: Its first bytes.
        content_type: The media type that its sender gives it, perhaps with parameters.
    """
    declared = content_type.partition(";")[0].strip().lower()
    if head and declared == PCM.content_type:
        return PCM
    if found := sniff(head):
        return found
    is_called_text = declared.startswith("text/") or declared in _TEXT_TYPES
    return TEXT if is_called_text and is_text(head) else None


def is_text(head: bytes) -> bool:
    """Returns whether bytes are text in UTF-8, of which the last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(head) and _BINARY.isdisjoint(head)


def _sniff_audio_frame(head: bytes) -> MediaFormat | None:
    # Both begin with the same sync word; the layer tells them apart, of which MP3 is the third.
    # So does UTF-16 text, but with a layer that there is not, or a sampling rate.
    layer = head[1] >> 1 & 3
    if layer == 0:
        return AAC if head[1] & 0x10 else None
    version, rate = head[1] >> 3 & 3, head[2] >> 2 & 3 if len(head) > 2 else 0
    return MP3 if layer == 1 and version != 1 and rate != 3 else None


def extension_of(content_type: str) -> str:
    """Returns how names of files of a media type end, without the dot; ``bin`` for an unknown one."""
    return next((each.extension for each in FORMATS if each.content_type == content_type), "bin")


def format_of_name(name: str) -> MediaFormat | None:
    """Returns the format that a file's name tells, None where it tells none."""
    return _BY_EXTENSION.get(name.rpartition(".")[2])
