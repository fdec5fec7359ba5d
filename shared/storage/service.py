"""The two containers of the app, opened when first needed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from shared.background import Background
from shared.errors import NotConfigured
from shared.identity import open_credential
from shared.settings import Settings
from shared.storage.folder import FolderStore
from shared.storage.folder_files import LOCKS, METADATA, UPLOADS, FolderRoot
from shared.storage.links import KEY_OBJECT, LinkSigner
from shared.storage.objects import ObjectStore, ObjectStream
from shared.storage.private_files import tighten
from shared.storage.shared_keys import SharedKey, key_of_file
from shared.timing import Timing

if TYPE_CHECKING:
    from shared.storage.blob import BlobAccount

DEFAULT_FOLDER = ".local/storage"
_LINK_KEY_FILE = "link.key"


class Storage:
    """Blob Storage or a folder, as the settings say; the Azure SDK is imported by the first use.

    Args:
        settings: Where things are stored.
        serves_links: Whether the app's own routes can be reached, so that links to media may lead there;
            else they are ``file:`` URLs, or lead to Blob Storage.
        timing: How long leases, pauses and waits are.
        clock: Tells the time that ids and stored lines say; leases do not depend on it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        serves_links: bool = True,
        timing: Timing | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._settings = settings
        self.timing = timing or Timing()
        self.clock = clock or _now
        self.background = Background(self.timing.grace)
        """Writes that go on after their request was answered."""
        self._opening = asyncio.Lock()
        self._account: BlobAccount | None = None
        self._stores: tuple[ObjectStore, ObjectStore] | None = None
        self.media = cast(ObjectStore, _LazyStore(self._open, 0))
        """The container of media; without storage its operations raise `NotConfigured`."""
        self.state = cast(ObjectStore, _LazyStore(self._open, 1))
        """The container of everything else durable, as `media` is."""
        self.signer: LinkSigner | None = None
        """Signs links to the app's own routes; None where these cannot be reached."""
        self._folder = _folder(settings)
        if serves_links and self._folder is not None:
            self.signer = LinkSigner(key_of_file(self._folder / _LINK_KEY_FILE), settings.own_url)
        elif serves_links:
            self.signer = LinkSigner(SharedKey(self.state, KEY_OBJECT).load, settings.own_url)
        is_proxy = settings.storage.proxy_downloads or self._folder is not None
        self.server_signer = self.signer if is_proxy else None
        """The same where the app serves the media itself; None where Blob Storage or nobody does."""

    @property
    def is_configured(self) -> bool:
        """Whether there is any storage."""
        return self._folder is not None or _uses_azure(self._settings)

    def check_configured(self) -> None:
        """Checks that there is any storage; nothing is opened.

        Raises:
            NotConfigured: There is none.
        """
        if not self.is_configured:
            raise NotConfigured(
                "No storage is configured. Set AZURE_STORAGE_ACCOUNT_URL, or "
                "AZURE_STORAGE_CONNECTION_STRING."
            )

    @property
    def is_local(self) -> bool:
        """Whether it is a folder on this machine."""
        return self._folder is not None

    def local_file(self, name: str) -> Path | None:
        """Returns the file of a media object in a folder store; None for Blob Storage."""
        if self._folder is None:
            return None
        root = FolderRoot(self._folder)
        return FolderStore(root, self._settings.storage.container, None).path(name)

    async def aclose(self) -> None:
        """Waits for the last writes, then closes connections and credentials."""
        await self.background.aclose()
        account, self._account, self._stores = self._account, None, None
        if account is not None:
            await account.aclose()

    async def _open(self) -> tuple[ObjectStore, ObjectStore]:
        if self._stores is None:
            async with self._opening:
                if self._stores is None:
                    self._stores = await asyncio.to_thread(self._make_stores)
        return self._stores

    def _make_stores(self) -> tuple[ObjectStore, ObjectStore]:
        media, state = (
            self._settings.storage.container,
            self._settings.storage.state_container,
        )
        if self._folder is not None:
            tighten(self._folder, (media, state, UPLOADS, LOCKS, METADATA, _LINK_KEY_FILE))
            root = FolderRoot(self._folder)
            return FolderStore(root, media, self.server_signer), FolderStore(root, state, None)
        self.check_configured()
        from shared.storage.blob import BlobStore

        self._account = _open_account(self._settings, self.timing)
        return BlobStore(self._account, media, self.server_signer), BlobStore(self._account, state)


class _LazyStore:
    """An `ObjectStore` that is opened by its first operation, which raises what opening raises.

    Args:
        open_stores: Returns the open stores; called for each operation.
        index: Which of them it is.
    """

    def __init__(
        self, open_stores: Callable[[], Awaitable[Sequence[ObjectStore]]], index: int
    ) -> None:
        self._open_stores = open_stores
        self._index = index

    @asynccontextmanager
    async def open(self, *args: Any, **kwargs: Any) -> AsyncIterator[ObjectStream]:
        store = (await self._open_stores())[self._index]
        async with store.open(*args, **kwargs) as stream:
            yield stream

    def __getattr__(self, operation: str) -> Callable[..., Awaitable[Any]]:
        # Any other operation is a coroutine function. What is none of them is no attribute.
        getattr(ObjectStore, operation)

        async def call(*args: Any, **kwargs: Any) -> Any:
            store = (await self._open_stores())[self._index]
            return await getattr(store, operation)(*args, **kwargs)

        # From now on it is an attribute, which is found without asking here.
        setattr(self, operation, call)
        return call


def _now() -> datetime:
    return datetime.now(UTC)


def _open_account(settings: Settings, timing: Timing) -> "BlobAccount":
    from shared.storage.blob import BlobAccount

    if settings.storage.connection_string is not None:
        secret = settings.storage.connection_string.get_secret_value()
        return BlobAccount.from_connection_string(secret, timing)
    credential = open_credential(in_azure=settings.in_azure, client_id=settings.azure_client_id)
    return BlobAccount.from_identity(settings.storage.account_url or "", credential, timing)


def _uses_azure(settings: Settings) -> bool:
    return bool(settings.storage.connection_string or settings.storage.account_url)


def _folder(settings: Settings) -> Path | None:
    if settings.in_azure or _uses_azure(settings):
        return None
    return Path(settings.storage.local_path or DEFAULT_FOLDER).absolute()
