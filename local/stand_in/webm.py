"""WebM, the container of videos that browsers play, as far as a row of VP8 pictures needs it.

Elements and their ids are those of RFC 9559 (Matroska) and RFC 8794 (EBML).
"""

import struct
from collections.abc import Iterator, Sequence

from local.stand_in import riff

PIECE_BYTES = 64 * 1024
"""How much padding is made at once."""

_WRITER = b"stand-in"
_TRACK = 1
_FRAMES_IN_CLUSTER = 30
_KEYFRAME = 0x80
_POSITION_BYTES = 8


def video(webps: Sequence[bytes], size: tuple[int, int], milliseconds: int) -> bytes:
    """Returns a video whose frames are all keyframes.

    Args:
        webps: The pictures as lossy WebP files without transparency: their ``VP8`` chunks hold what
            VP8 calls a keyframe.
        size: Width and height of the pictures.
        milliseconds: How long each is shown, at most a second.
    """
    frames = [dict(riff.chunks(webp))[b"VP8 "] for webp in webps]
    starts = range(0, len(frames), _FRAMES_IN_CLUSTER)
    clusters = [
        _cluster(frames[start : start + _FRAMES_IN_CLUSTER], start * milliseconds, milliseconds)
        for start in starts
    ]
    head = _information(len(frames) * milliseconds) + _tracks(size, milliseconds)
    # The index stands before what it points to, so its length must not depend on what it says.
    position = len(head) + len(_cues([(0, 0) for _ in clusters]))
    entries = []
    for start, cluster in zip(starts, clusters, strict=True):
        entries.append((start * milliseconds, position))
        position += len(cluster)
    return header() + _element("18538067", head, _cues(entries), *clusters)


def header() -> bytes:
    """Returns what every WebM file begins with."""
    return _element(
        "1A45DFA3",
        _number("4286", 1),  # EBMLVersion
        _number("42F7", 1),  # EBMLReadVersion
        _number("42F2", 4),  # EBMLMaxIDLength
        _number("42F3", 8),  # EBMLMaxSizeLength
        _element("4282", b"webm"),  # DocType
        _number("4287", 4),  # DocTypeVersion
        _number("4285", 2),  # DocTypeReadVersion
    )


def padding(size: int) -> Iterator[bytes]:
    """Yields a file of so many bytes, piece by piece: the header and a ``Void`` element."""
    head = header()
    filler = max(0, size - len(head) - 9)
    first = (head + b"\xec" + _size(filler))[:size]
    yield first
    left = size - len(first)
    while left > 0:
        piece = bytes(min(left, PIECE_BYTES))
        left -= len(piece)
        yield piece


def _information(milliseconds: int) -> bytes:
    return _element(
        "1549A966",
        _number("2AD7B1", 1_000_000),  # TimestampScale: nanoseconds in the unit of time
        _element("4489", struct.pack(">d", milliseconds)),  # Duration
        _element("4D80", _WRITER),  # MuxingApp
        _element("5741", _WRITER),  # WritingApp
    )


def _tracks(size: tuple[int, int], milliseconds: int) -> bytes:
    entry = _element(
        "AE",
        _number("D7", _TRACK),  # TrackNumber
        _number("73C5", _TRACK),  # TrackUID
        _number("83", 1),  # TrackType: video
        _number("9C", 0),  # FlagLacing
        _number("23E383", milliseconds * 1_000_000),  # DefaultDuration
        _element("86", b"V_VP8"),  # CodecID
        _element("E0", _number("B0", size[0]), _number("BA", size[1])),  # Video
    )
    return _element("1654AE6B", entry)


def _cues(entries: Sequence[tuple[int, int]]) -> bytes:
    points = [
        _element(
            "BB",  # CuePoint
            _number("B3", time),  # CueTime
            # CueTrackPositions: CueTrack, CueClusterPosition
            _element("B7", _number("F7", _TRACK), _number("F1", position)),
        )
        for time, position in entries
    ]
    return _element("1C53BB6B", *points)


def _cluster(frames: Sequence[bytes], start: int, milliseconds: int) -> bytes:
    blocks = [
        _element(
            "A3",  # SimpleBlock
            struct.pack(">BhB", 0x80 | _TRACK, number * milliseconds, _KEYFRAME),
            frame,
        )
        for number, frame in enumerate(frames)
    ]
    return _element("1F43B675", _number("E7", start), *blocks)


def _number(name: str, value: int) -> bytes:
    return _element(name, value.to_bytes(_POSITION_BYTES, "big"))


def _element(name: str, *content: bytes) -> bytes:
    body = b"".join(content)
    return bytes.fromhex(name) + _size(len(body)) + body


def _size(size: int) -> bytes:
    return (size | 1 << 56).to_bytes(8, "big")
