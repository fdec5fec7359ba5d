"""Stored keys: who has one, and how they are made, renewed, changed and taken away."""

from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from shared.auth import SHARED_KEY_PRINCIPAL, Key, Keyring, Principal, principal_of
from shared.errors import Conflict, InvalidRequest, NotFound
from shared.key_text import digest_key, generate_key
from shared.keys.snapshot import KeySnapshot
from shared.settings import PRINCIPAL_PATTERN, KeyGrant
from shared.storage import ObjectMissing, ObjectStore, Record, Records, pseudonym_of

FILE = "keys/keys.json"
"""All stored keys are one object, so that one request reads them."""
MAX_KEYS = 1000
MAX_OVERLAPPING = 10
"""Maximum keys of one name that are valid at a time."""

ResultT = TypeVar("ResultT")


class StoredDigest(BaseModel):
    """One key of a name.

    Attributes:
        sha256: Its SHA-256, as 64 hex digits.
        ends_at: When the overlap with the next one ends; None for the newest.
    """

    model_config = ConfigDict(frozen=True)

    sha256: str
    ends_at: datetime | None = None


class StoredKey(KeyGrant):
    """What is stored under a name.

    Attributes:
        digests: The newest key first.
        created_at: When the name was made.
        created_by: Who made it.
        rotated_at: When its newest key was made; None for the first.
    """

    model_config = ConfigDict(extra="ignore")

    digests: tuple[StoredDigest, ...]
    created_at: datetime
    created_by: str
    rotated_at: datetime | None = None


class _KeyFile(Record):
    keys: dict[str, StoredKey] = Field(default_factory=dict)


class KeyStore:
    """The stored keys of all principals.

    Args:
        state: The container that they are in.
        settings_names: Names of the settings, which no stored key may have.
        interval: Seconds between two reads of an instance whose callers use stored keys.
        clock: Tells the time.
    """

    def __init__(
        self,
        state: ObjectStore,
        settings_names: Container[str],
        interval: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._records = Records(state, _KeyFile)
        self._settings_names = settings_names
        self._clock = clock
        self.snapshot = KeySnapshot(self._read_keyring, interval)
        """The keys that this instance lets in."""

    async def all(self) -> Mapping[str, StoredKey]:
        """Returns all keys by name, as they are stored now."""
        return await self._read()

    def is_taken(self, name: str) -> bool:
        """Returns whether a name belongs to the settings, whatever is stored under it."""
        return name == SHARED_KEY_PRINCIPAL or name in self._settings_names

    async def create(self, name: str, grant: KeyGrant, creator: Principal) -> str:
        """Stores a new key and returns it; it is stored nowhere.

        Raises:
            InvalidRequest: The name is none, or the key has expired already.
            Conflict: The name is taken, or there are too many keys.
        """
        if not PRINCIPAL_PATTERN.fullmatch(name) or not name.strip("."):
            raise InvalidRequest.for_field("name", "must be 1 to 128 of A-Z a-z 0-9 . _ @ -")
        self._check_not_taken(name)
        self._check_not_expired(grant)
        key = generate_key()

        def add(file: _KeyFile) -> None:
            if name in file.keys:
                raise Conflict(
                    f"There is a key named '{name}' already. Rotate it, or delete it first."
                )
            if len(file.keys) >= MAX_KEYS:
                raise Conflict(f"There are {MAX_KEYS} stored keys already. Delete some first.")
            file.keys[name] = StoredKey(
                **_fields(grant),
                digests=(StoredDigest(sha256=_digest(key)),),
                created_at=self._clock(),
                created_by=creator.name,
            )

        await self._change(add, is_first=True)
        return key

    async def rotate(self, name: str, overlap: timedelta) -> tuple[str, StoredKey]:
        """Stores a new key of a name in place of the one before.

        Args:
            name: The name.
            overlap: How much longer the keys before are valid at most.

        Returns:
            The new key, and what is stored.

        Raises:
            NotFound: There is no stored key of that name.
            Conflict: It has expired.
        """
        key = generate_key()

        def renew(file: _KeyFile) -> StoredKey:
            now = self._clock()
            stored = self._find(file, name)
            if stored.ends_at is not None and stored.ends_at <= now:
                raise Conflict(
                    f"The key '{name}' expired on {stored.expires}. Set a later 'expires' with "
                    "PATCH first."
                )
            end = now + overlap
            older = tuple(
                StoredDigest(sha256=each.sha256, ends_at=min(each.ends_at or end, end))
                for each in stored.digests
                if overlap and (each.ends_at is None or each.ends_at > now)
            )
            newest = StoredDigest(sha256=_digest(key))
            renewed = {"digests": (newest, *older)[:MAX_OVERLAPPING], "rotated_at": now}
            file.keys[name] = stored.model_copy(update=renewed)
            return file.keys[name]

        return key, await self._change(renew)

    async def update(self, name: str, changes: Mapping[str, Any]) -> StoredKey:
        """Changes what the keys of a name may do.

        Args:
            name: The name.
            changes: Fields of `KeyGrant` with their new values.

        Raises:
            NotFound: There is no stored key of that name.
            InvalidRequest: It would have expired already.
        """

        def apply(file: _KeyFile) -> StoredKey:
            changed = self._find(file, name).model_copy(update={**changes})
            if "expires" in changes:
                self._check_not_expired(changed)
            file.keys[name] = changed
            return changed

        return await self._change(apply)

    async def delete(self, name: str) -> None:
        """Deletes the keys of a name.

        Raises:
            NotFound: There is no stored key of that name.
        """

        def remove(file: _KeyFile) -> None:
            self._find(file, name)
            del file.keys[name]

        await self._change(remove)

    async def forget(self, principal: str) -> None:
        """Puts a pseudonym in place of a principal's name where keys say who made them.

        Raises:
            StorageUnavailable: Storage failed; it can be repeated.
        """
        if all(each.created_by != principal for each in (await self._read()).values()):
            return

        def rename(file: _KeyFile) -> None:
            for name, each in file.keys.items():
                if each.created_by == principal:
                    renamed = {"created_by": pseudonym_of(principal)}
                    file.keys[name] = each.model_copy(update=renamed)

        await self._change(rename)

    def _find(self, file: _KeyFile, name: str) -> StoredKey:
        if name not in file.keys:
            # A name of both can be deleted here.
            self._check_not_taken(name)
            raise NotFound(f"There is no stored key named '{name[:128]}'.")
        return file.keys[name]

    def _check_not_taken(self, name: str) -> None:
        if self.is_taken(name):
            raise Conflict(
                f"The name '{name}' belongs to the app settings (API_KEYS, MCP_API_KEY): change it "
                "there, or take another name."
            )

    def _check_not_expired(self, grant: KeyGrant) -> None:
        if grant.ends_at is not None and grant.ends_at <= self._clock():
            raise InvalidRequest.for_field("expires", "is over already: give a later day")

    async def _change(
        self, make: Callable[[_KeyFile], ResultT], *, is_first: bool = False
    ) -> ResultT:
        written: list[_KeyFile] = []

        def make_and_note(file: _KeyFile) -> ResultT:
            result = make(file)
            written.append(file)
            return result

        try:
            result = await self._records.change(FILE, make_and_note, default=_KeyFile)
        except ObjectMissing as error:
            raise NotFound("There are no stored keys.") from error
        self.snapshot.replace(self._keyring_of(written[-1].keys))
        return result

    async def _read(self) -> Mapping[str, StoredKey]:
        found = await self._records.find(FILE)
        return found.record.keys if found else {}

    async def _read_keyring(self) -> Keyring:
        return self._keyring_of(await self._read())

    def _keyring_of(self, stored: Mapping[str, StoredKey]) -> Keyring:
        keys: list[tuple[str, Key]] = []
        principals: dict[str, Principal] = {}
        for name, each in stored.items():
            # The settings come first, also where their entry lets nobody in.
            if self.is_taken(name):
                continue
            principal = principals[name] = principal_of(name, each)
            for digest in each.digests:
                ends = [end for end in (digest.ends_at, each.ends_at) if end is not None]
                keys.append((digest.sha256, Key(principal, min(ends, default=None))))
        return Keyring(keys, principals)


def _fields(grant: KeyGrant) -> dict[str, Any]:
    return {name: getattr(grant, name) for name in KeyGrant.model_fields}


def _digest(key: str) -> str:
    return digest_key(key.encode())
