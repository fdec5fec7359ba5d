"""A clip of PCM samples: 24 kHz, 16 bit, mono, bare or as wav.

Source: http://soundfile.sapp.org/doc/WaveFormat/
"""

import struct
from collections.abc import AsyncIterator, Mapping

from shared.errors import ProviderUnavailable

SAMPLE_RATE = 24_000
SAMPLE_BYTES = 2
FORMATS: Mapping[str, str] = {"wav": "audio/wav", "pcm": "audio/pcm"}
"""Formats that need no encoder, with their media types."""

UNKNOWN_SIZE = 0xFFFFFFFF
"""Size in the header of a wav clip whose length is not known when it begins."""


class RealtimeAnswer:
    """Speech as it comes, read like the answer of the speech API.

    Attributes:
        status: Always 200: what fails raises.
        headers: The media type of the clip.
    """

    status = 200

    def __init__(self, chunks: AsyncIterator[bytes], response_format: str) -> None:
        self._chunks = chunks
        self.headers: Mapping[str, str] = {"content-type": FORMATS[response_format]}

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields the clip.

        Raises:
            ProviderError: The provider failed, or the connection broke.
        """
        async for chunk in self._chunks:
            yield chunk

    async def read(self, limit: int) -> bytes:
        """Returns the whole clip.

        Raises:
            ProviderUnavailable: It has more than ``limit`` bytes.
        """
        data = bytearray()
        async for chunk in self._chunks:
            data += chunk
            if len(data) > limit:
                raise ProviderUnavailable(f"The provider's clip has more than {limit} bytes.")
        return bytes(data)


async def as_wav(samples: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yields a wav clip as its samples come, nothing where none come.

    Its header says that the length is unknown, as ffmpeg's does where it writes into a pipe: the true
    one would be known only once the whole clip had been held in memory. Players go by its end.
    """
    header = wav_header()
    async for piece in samples:
        if piece:
            yield header + piece
            header = b""


def wav_header() -> bytes:
    """Returns the header of a clip of unknown length."""
    rate = SAMPLE_RATE * SAMPLE_BYTES
    layout = (16, 1, 1, SAMPLE_RATE, rate, SAMPLE_BYTES, 8 * SAMPLE_BYTES)
    head = struct.pack("<4sI4s", b"RIFF", UNKNOWN_SIZE, b"WAVE")
    data = struct.pack("<4sI", b"data", UNKNOWN_SIZE)
    return head + struct.pack("<4sIHHIIHH", b"fmt ", *layout) + data
