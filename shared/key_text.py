"""The text of API keys: how one is made, recognised and digested; needs nothing but Python.

A key is ``omf_``, 40 random letters and digits (238 bits), and 6 that are the CRC-32 of what stands
before them, as GitHub's tokens have it. Secret scanners find it by `KEY_PATTERN`, and tell by the
checksum that it is one, without asking anybody.
"""

import hashlib
import secrets
import string
import zlib

KEY_PREFIX = "omf_"
KEY_PATTERN = r"\bomf_[0-9A-Za-z]{46}\b"
"""What secret scanners look for."""

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_CHARS = 40
_CHECKSUM_CHARS = 6


def generate_key() -> str:
    """Returns a new random key."""
    body = KEY_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS))
    return body + _checksum(body)


def has_valid_checksum(key: str) -> bool:
    """Returns whether a text is a key that `generate_key` may have made."""
    body, checksum = key[:-_CHECKSUM_CHARS], key[-_CHECKSUM_CHARS:]
    return key.startswith(KEY_PREFIX) and checksum == _checksum(body)


def digest_key(key: bytes) -> str:
    """Returns what is stored of a key: its SHA-256 in hex digits."""
    return hashlib.sha256(key).hexdigest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode("latin-1", "replace"))
    digits = ""
    for _ in range(_CHECKSUM_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
