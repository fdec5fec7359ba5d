"""Keys of callers: what one may do, until when, and the entries of API_KEYS."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from shared.settings.limits import Limits
from shared.settings.values import (
    DEFAULT_SCOPES,
    PRINCIPAL_PATTERN,
    Scope,
    describe_complaint,
    malformed,
)

MAX_DIGESTS = 10
"""Maximum keys of one name that are valid at a time."""
MAX_PATTERNS = 100
MAX_PATTERN_CHARS = 200
MAX_SHOWN_CHARS = 64

_PATTERN = re.compile(r"[\x21-\x2b\x2d-\x7e]+")
_ZONED = re.compile(r"[0-9-]{10}[T ][0-9:.]+(Z|[+-][0-9]{2}:?[0-9]{2})")


def read_expiry(text: str) -> datetime:
    """Returns the moment at which a key ends.

    Args:
        text: A day, at whose end in UTC it ends, or a moment with its time zone.

    Raises:
        ValueError: It is neither.
    """
    if _ZONED.fullmatch(text):
        return datetime.fromisoformat(text).astimezone(UTC)
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days=1)
    raise ValueError(text)


def _expiry(value: object) -> object:
    try:
        if isinstance(value, str):
            read_expiry(value)
            return value
    except (ValueError, OverflowError):
        pass
    raise malformed("is not a day as 2027-01-31, nor a moment as 2027-01-31T12:00:00Z")


def _pattern(value: str) -> str:
    if len(value) > MAX_PATTERN_CHARS or not _PATTERN.fullmatch(value):
        raise malformed(
            f"is not the name of a model, with * for any part of it: 1 to {MAX_PATTERN_CHARS} visible "
            "ASCII characters without commas"
        )
    return value


Expiry = Annotated[str, BeforeValidator(_expiry)]
ModelPattern = Annotated[str, AfterValidator(_pattern)]
ModelPatterns = Annotated[tuple[ModelPattern, ...], Field(max_length=MAX_PATTERNS)]


class KeyGrant(BaseModel):
    """What a key may do, and until when.

    Attributes:
        scopes: What the key may do.
        expires: The last day on which it is valid (UTC), or the moment at which it ends; None: never.
        models: Patterns of the models that it may use, with ``*``; None for any.
        limits: Its limits; None for those of LIMITS.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    scopes: frozenset[Scope] = DEFAULT_SCOPES
    expires: Expiry | None = None
    models: ModelPatterns | None = None
    limits: Limits | None = None

    @property
    def ends_at(self) -> datetime | None:
        """The moment at which the key ends; None: never."""
        return None if self.expires is None else read_expiry(self.expires)


class KeyEntry(KeyGrant):
    """One entry of API_KEYS.

    Attributes:
        sha256: SHA-256 of each key that is valid under the name, as 64 hex digits in lower case.
    """

    sha256: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_DIGESTS)]

    @model_validator(mode="before")
    @classmethod
    def _expand_digest(cls, value: object) -> object:
        if not isinstance(value, str | dict | KeyEntry):
            raise malformed('is neither a digest nor an object with "sha256"')
        return {"sha256": value} if isinstance(value, str) else value

    @field_validator("sha256", mode="before")
    @classmethod
    def _are_digests(cls, value: object) -> object:
        digests = [value] if isinstance(value, str) else value
        if not isinstance(digests, list | tuple) or not all(isinstance(d, str) for d in digests):
            raise malformed("is neither a digest nor a list of digests")
        if not all(re.fullmatch(r"[0-9a-fA-F]{64}", digest) for digest in digests):
            raise malformed("is not a SHA-256 digest of 64 hex digits")
        return tuple(digest.lower() for digest in digests)


class KeyEntries(BaseModel):
    """API_KEYS: the entries that count, and what is wrong with the others.

    Attributes:
        entries: The entries by name.
        faults: For each entry that lets nobody in, why, as the end of a sentence.
    """

    model_config = ConfigDict(frozen=True)

    entries: Mapping[str, KeyEntry] = {}
    faults: Mapping[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        entries: dict[str, KeyEntry] = {}
        faults: dict[str, str] = {}
        for name, entry in value.items():
            try:
                if not PRINCIPAL_PATTERN.fullmatch(name):
                    faults[name] = "has a name that is not 1 to 128 of A-Z a-z 0-9 . _ @ -"
                else:
                    entries[name] = KeyEntry.model_validate(entry)
            except ValidationError as error:
                faults[name] = _first_complaint(error)
        for name in _with_shared_digests(entries):
            faults[name] = "has a key that another name has too: make a key for each name"
            del entries[name]
        return {"entries": entries, "faults": faults}

    def __bool__(self) -> bool:
        """Returns whether there is any entry, be it malformed."""
        return bool(self.entries or self.faults)

    def __contains__(self, name: object) -> bool:
        """Returns whether there is an entry of that name, be it malformed."""
        return name in self.entries or name in self.faults

    def problems(self, now: datetime) -> tuple[str, ...]:
        """Returns a sentence for each entry that lets nobody in; they name the entries.

        Args:
            now: The time, for those that have expired.
        """
        return tuple(self._problems(now))

    def _problems(self, now: datetime) -> Iterator[str]:
        for name, fault in self.faults.items():
            shown = name if len(name) <= MAX_SHOWN_CHARS else f"{name[:MAX_SHOWN_CHARS]}…"
            yield f"The setting API_KEYS, entry {shown}{fault if fault[0] == '.' else f', {fault}'}."
        for name, entry in self.entries.items():
            if entry.ends_at is not None and entry.ends_at <= now:
                yield f"The setting API_KEYS, entry {name}, expired on {entry.expires}."


def _first_complaint(error: ValidationError) -> str:
    complaint: Any = error.errors(include_input=False)[0]
    path = ".".join(str(step)[:MAX_SHOWN_CHARS] for step in complaint["loc"])
    sentence = describe_complaint(complaint)
    return f".{path}, {sentence}" if path else sentence


def _with_shared_digests(entries: Mapping[str, KeyEntry]) -> list[str]:
    owners: dict[str, set[str]] = {}
    for name, entry in entries.items():
        for digest in entry.sha256:
            owners.setdefault(digest, set()).add(name)
    shared = set().union(*(names for names in owners.values() if len(names) > 1))
    return [name for name in entries if name in shared]
