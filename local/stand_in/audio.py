"""Audio files of one channel with 16 bits a sample, in the formats that a page of code can write."""

import hashlib
import io
import math
import wave
import zlib
from array import array
from collections.abc import Iterator
from functools import cache

from local.stand_in import riff

SAMPLE_RATE = 24_000
"""Samples a second, as OpenAI's speech models give them."""

_SCALE = (262, 294, 330, 392, 440, 523, 587, 659)
_LOUDNESS = 6000
_BLOCK_SAMPLES = 4096
_FADE_SAMPLES = 240


def beeps(text: str, speed: float) -> bytes:
    """Returns samples, little-endian: a beep for each word, longer for a longer one.

    Args:
        text: Decides on the notes of a pentatonic scale.
        speed: How many times faster than normal.
    """
    gap = bytes(2 * int(SAMPLE_RATE * 0.05 / speed))
    notes = []
    for word in text.split() or [text]:
        seconds = (0.08 + 0.02 * min(len(word), 12)) / speed
        pitch = _SCALE[zlib.crc32(word.encode("utf-8", "replace")) % len(_SCALE)]
        notes += [_beep(pitch, int(SAMPLE_RATE * seconds)), gap]
    return b"".join(notes)


@cache
def _beep(pitch: int, length: int) -> bytes:
    step = 2 * math.pi * pitch / SAMPLE_RATE
    fade = min(_FADE_SAMPLES, length // 2)
    return b"".join(
        int(_LOUDNESS * math.sin(step * n) * min(1.0, n / fade, (length - n) / fade)).to_bytes(
            2, "little", signed=True
        )
        for n in range(length)
    )


def to_wav(samples: bytes, comment: str) -> bytes:
    """Returns a WAV file with a comment in its ``INFO`` list."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples)
    note = riff.chunk(b"ICMT", comment.encode("utf-8", "replace") + b"\0")
    (_, layout), *_ = riff.chunks(buffer.getvalue())
    parts = [(b"fmt ", layout), (b"LIST", b"INFO" + note), (b"data", samples)]
    return riff.form(b"WAVE", b"".join(riff.chunk(*part) for part in parts))


def to_flac(samples: bytes) -> bytes:
    """Returns a FLAC file (RFC 9639) that holds the samples as they are, in verbatim subframes."""
    count = len(samples) // 2
    digest = hashlib.md5(samples, usedforsecurity=False).digest()
    rate_channels_bits_count = SAMPLE_RATE << 44 | 0 << 41 | 15 << 36 | count
    information = (
        _BLOCK_SAMPLES.to_bytes(2, "big") * 2
        + bytes(6)
        + rate_channels_bits_count.to_bytes(8, "big")
        + digest
    )
    last_block_of_kind_0 = b"\x80"
    head = b"fLaC" + last_block_of_kind_0 + len(information).to_bytes(3, "big") + information
    return head + b"".join(_flac_frames(samples))


def _flac_frames(samples: bytes) -> Iterator[bytes]:
    values = array("h", samples)
    values.byteswap()
    for number, start in enumerate(range(0, len(values), _BLOCK_SAMPLES)):
        block = values[start : start + _BLOCK_SAMPLES]
        # Sync code and fixed block size; the size follows in 16 bits, 24 kHz; one channel, 16 bits.
        header = b"\xff\xf8\x77\x08" + _utf8(number) + (len(block) - 1).to_bytes(2, "big")
        header += _crc(header, 8, 0x07).to_bytes(1, "big")
        verbatim = b"\x02"
        frame = header + verbatim + block.tobytes()
        yield frame + _crc(frame, 16, 0x8005).to_bytes(2, "big")


def _utf8(number: int) -> bytes:
    # Surrogates have codes here too.
    return chr(number).encode("utf-8", "surrogatepass")


def _crc(content: bytes, bits: int, polynomial: int) -> int:
    table = _crc_table(bits, polynomial)
    mask = (1 << bits) - 1
    remainder = 0
    for byte in content:
        remainder = remainder << 8 & mask ^ table[remainder >> bits - 8 ^ byte]
    return remainder


@cache
def _crc_table(bits: int, polynomial: int) -> list[int]:
    table = []
    for byte in range(256):
        remainder = byte << bits - 8
        for _ in range(8):
            remainder <<= 1
            if remainder >> bits:
                remainder ^= 1 << bits | polynomial
        table.append(remainder)
    return table
