"""The characters by which whoever started an authorization shows that it is theirs.

An authorization's address can be sent to somebody else, whose browser then comes back with a code for
somebody else's account. The characters are shown to that browser alone, and are good for nothing but the
key of whoever started the authorization: a victim would have to hand them over.
"""

import hmac
import secrets
from string import ascii_uppercase, digits

MAX_TRIES = 5
CONFIRM_SECONDS = 600

_LENGTH = 8
# Without I, L, O and U, as Crockford's base 32: nothing looks like something else. 40 bits.
_ALPHABET = "".join(sorted({*digits, *ascii_uppercase} - {*"ILOU"}))
_ALIKE = str.maketrans("ILO", "110", " -")


def new_characters() -> str:
    """Returns eight random characters."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def well_formed(given: str) -> str | None:
    """Returns the characters as they were shown, however they were typed; None if they cannot be any."""
    typed = given.upper().translate(_ALIKE)
    is_possible = len(typed) == _LENGTH and all(character in _ALPHABET for character in typed)
    return typed if is_possible else None


def are_equal(one: str, other: str) -> bool:
    """Compares characters in the same time however many are right."""
    return hmac.compare_digest(one.encode(), other.encode())
