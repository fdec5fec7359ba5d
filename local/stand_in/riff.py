"""RIFF, the chunks that WAV and WebP files are made of."""

from collections.abc import Iterator

HEADER_BYTES = 12
"""``RIFF``, the size, and the form's type."""


def chunk(name: bytes, content: bytes) -> bytes:
    """Returns a chunk, padded to an even length."""
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


def form(kind: bytes, chunks: bytes) -> bytes:
    """Returns a file of a form, such as ``WAVE`` or ``WEBP``."""
    return chunk(b"RIFF", kind + chunks)


def chunks(form: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields names and contents of a file's chunks; of one that is cut, as far as it goes."""
    yield from _walk(form[HEADER_BYTES:])


def info(form: bytes, name: bytes) -> bytes | None:
    """Returns an entry of a file's ``LIST`` of the type ``INFO``, if it has it."""
    for kind, content in chunks(form):
        if kind == b"LIST" and content.startswith(b"INFO"):
            return dict(_walk(content[4:])).get(name)
    return None


def _walk(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(content):
        size = int.from_bytes(content[position + 4 : position + 8], "little")
        start = position + 8
        yield content[position : position + 4], content[start : start + size]
        position = start + size + size % 2
