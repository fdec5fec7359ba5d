"""Ids of stored things: random, and in the order of their making, newest first.

An id is 44 hex digits: 12 for the time in milliseconds, counted down so that a listing by name begins
with the newest, then 32 that are random.
"""

import hashlib
import re
import secrets
from datetime import UTC, datetime

_END_OF_TIME = (1 << 48) - 1
_BUCKET_BITS = 20
_ID = re.compile(r"[0-9a-f]{44}")


def new_id() -> str:
    """Returns a new id of now."""
    return make_id(datetime.now(UTC), secrets.token_bytes(16))


def make_id(moment: datetime, randomness: bytes) -> str:
    """Returns the id for a moment and 16 random bytes."""
    milliseconds = int(moment.timestamp() * 1000)
    return f"{_END_OF_TIME - milliseconds:012x}{randomness.hex()}"


def bucket_of(moment: datetime) -> int:
    """Returns the bucket of time of a moment: what the first seven digits of its ids are.

    A bucket lasts about 17 minutes; the next one has the next lower number.
    """
    milliseconds = int(moment.timestamp() * 1000)
    return (_END_OF_TIME - milliseconds) >> _BUCKET_BITS


def bucket_prefix(bucket: int) -> str:
    """Returns how all ids of a bucket of time begin."""
    return f"{bucket:07x}"


def bucket_limits(bucket: int) -> tuple[datetime, datetime]:
    """Returns the first and the last moment of a bucket of time."""
    last = _END_OF_TIME - (bucket << _BUCKET_BITS)
    first = last - (1 << _BUCKET_BITS) + 1
    return datetime.fromtimestamp(first / 1000, UTC), datetime.fromtimestamp(last / 1000, UTC)


def is_id(text: str) -> bool:
    """Returns whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None


def made_at(id_: str) -> datetime:
    """Returns the moment that an id was made for."""
    milliseconds = _END_OF_TIME - int(id_[:12], 16)
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def iso_utc(moment: datetime) -> str:
    """Returns a moment as stored lines and answers have it: UTC, with milliseconds and a Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def owner_key(principal_name: str) -> str:
    """Returns what stands for a principal in the names of stored things: 32 hex digits."""
    return hashlib.sha256(principal_name.encode()).hexdigest()[:32]


def pseudonym_of(principal_name: str) -> str:
    """Returns what stands in place of the name of a principal whose data were deleted."""
    return f"deleted-{owner_key(principal_name)[:12]}"


class Operation:
    """One thing that a caller wants done once, however often it is tried.

    What is stored for it gets its id from here, so that a second run finds what the first one stored
    before it died. It is immutable and compared by identity. It is not thread-safe: two threads that ask
    for the seed first may get two.

    Args:
        seed: 16 random bytes, the same for every run; None to make them when they are asked for.
        began_at: When the first run began.
        is_repeat: Whether an earlier run began and did not finish.
    """

    __slots__ = ("_began_at", "_is_repeat", "_seed")

    def __init__(self, seed: bytes | None, began_at: datetime, is_repeat: bool = False) -> None:
        self._seed = seed
        self._began_at = began_at
        self._is_repeat = is_repeat

    def __repr__(self) -> str:
        return f"Operation(began_at={self._began_at!r}, is_repeat={self._is_repeat!r})"

    @classmethod
    def begin(cls, now: datetime | None = None) -> "Operation":
        """Returns a new operation that begins now."""
        return cls(None, now or datetime.now(UTC))

    @property
    def seed(self) -> bytes:
        """16 random bytes, the same for every run."""
        # Each call has an operation, and most store nothing.
        if self._seed is None:
            self._seed = secrets.token_bytes(16)
        return self._seed

    @property
    def began_at(self) -> datetime:
        """When the first run began."""
        return self._began_at

    @property
    def is_repeat(self) -> bool:
        """Whether an earlier run began and did not finish."""
        return self._is_repeat

    def id(self, purpose: str) -> str:
        """Returns the operation's id for one purpose, such as its second picture."""
        return make_id(self.began_at, self._digest(purpose))

    def short_id(self, purpose: str) -> str:
        """Returns 16 hex digits for one purpose: an id for where few others are."""
        return self._digest(purpose)[:8].hex()

    def _digest(self, purpose: str) -> bytes:
        return hashlib.sha256(self.seed + purpose.encode()).digest()[:16]
