"""Loads in a thread what requests will need, while an instance has nothing to do.

An instance that waits for its first request, as an always ready one does, has loaded it by then. One
that was started for a request answers that first: a thread that imports would hold it up.
"""

import gc
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module

from starlette.types import ASGIApp, Receive, Scope, Send

from shared.settings import Settings

IDLE_SECONDS = 5.0
"""How long an instance waits for a first request before it loads: longer than a slow processor takes
from the import of the app to the request for which the instance was started."""

MODULES = (
    # What the SDKs stand on comes first, because requests wait for the import that has begun.
    "anyio._backends._asyncio",
    "httpx2",
    "httpcore2",
    "truststore",
    "shared.openai_service.sdk",
    "docstring_parser.google",
    "mcp_types",
    "mcp_types.methods",
    "mcp.server.lowlevel",
    "shared.mcp_server.server",
    "genai_prices.data",
    "genai_prices.decompose",
    "genai_prices.validation",
    "openai.resources.audio.audio",
    "openai.resources.audio.speech",
    "openai.resources.audio.transcriptions",
    "cryptography.hazmat.primitives.ciphers.aead",
)
"""What every app loads, in this order."""

BLOB_MODULES = ("aiohttp", "azure.storage.blob.aio", "shared.storage.blob")
"""What Blob Storage needs; a chat begins with it."""

IDENTITY_MODULES = ("azure.identity.aio",)
"""What a managed identity needs."""

logger = logging.getLogger(__name__)


def modules_for(settings: Settings) -> tuple[str, ...]:
    """Returns the names of the modules that requests need under these settings."""
    storage = settings.storage
    return (
        *(IDENTITY_MODULES if storage.account_url else ()),
        *(BLOB_MODULES if storage.account_url or storage.connection_string else ()),
        *MODULES,
    )


class Preloading:
    """Loads modules and makes what they are for, each once and when no request is being answered.

    Args:
        modules: Names of the modules.
        make: Called after the imports, by a name for the log; each takes a few milliseconds.
        idle_seconds: How long to wait for a first request.
    """

    def __init__(
        self,
        modules: Sequence[str],
        make: Mapping[str, Callable[[], object]] | None = None,
        *,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._steps: dict[str, Callable[[], object]] = {
            **{name: partial(import_module, name) for name in modules},
            **(make or {}),
        }
        self._serving = 0
        self._is_free = threading.Event()
        self._is_free.set()
        self._begin = threading.Event()
        self._idle_seconds = idle_seconds
        self.thread = threading.Thread(target=self._load, name="preloading", daemon=True)

    def start(self) -> None:
        """Starts the thread; it ends with the last module and never keeps the process from ending."""
        self.thread.start()

    def enter(self) -> None:
        """Notes that a request is being answered; called in the event loop."""
        self._serving += 1
        self._is_free.clear()

    def leave(self) -> None:
        """Notes that its answer has ended."""
        self._serving -= 1
        if not self._serving:
            self._is_free.set()
            self._begin.set()

    def _load(self) -> None:
        self._begin.wait(self._idle_seconds)
        for name, step in self._steps.items():
            self._is_free.wait()
            try:
                step()
            except Exception:
                # Whoever needs it meets the same error, and can tell its caller.
                logger.exception("Cannot load %s", name)
                break
        self._is_free.wait()
        # What is loaded stays: each later search for garbage in it would hold up all requests for 60 ms.
        gc.collect()
        gc.freeze()


class PreloadingMiddleware:
    """Tells `Preloading` of requests.

    Args:
        app: What answers.
        preloading: Waits while a request is being answered.
    """

    def __init__(self, app: ASGIApp, preloading: Preloading) -> None:
        self._app = app
        self._preloading = preloading

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._preloading.enter()
        try:
            await self._app(scope, receive, send)
        finally:
            self._preloading.leave()
