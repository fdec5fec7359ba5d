"""Media files that the stand-in answers with: real formats, made with FFmpeg, the same each time.

The clips are beeps of 1.5 seconds, one channel at 24 kHz; the video (VP8, 320x180, 4 seconds) and its
still say that they are a stand-in's.
"""

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def sample(name: str) -> bytes:
    """Returns a file's bytes."""
    return (_FOLDER / name).read_bytes()
