"""Forwards requests of OpenAI's API to providers unchanged; answers are streamed as bytes.

Nothing here knows the objects of the API: what a caller sends and a provider answers passes unread.
Without the SDK, whose import takes most of a second.
"""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from pydantic_core import from_json

from shared.identity import open_credential
from shared.openai_service.charge import Charge
from shared.openai_service.client import ProviderCall, observed
from shared.openai_service.forwarded_answer import ForwardedAnswer, read_error
from shared.openai_service.provider_config import (
    CONNECT_TIMEOUT_SECONDS,
    Provider,
    ProviderConfig,
)
from shared.openai_service.realtime import (
    RealtimeAnswer,
    RealtimeText,
    open_speech,
    speaks_over_realtime,
)
from shared.settings import Settings
from shared.tracing import inject

if TYPE_CHECKING:
    import httpx2
    from azure.core.credentials_async import AsyncTokenCredential

MAX_URLS = 1024
"""Maximum parsed URLs that are kept: one for each route of a provider."""

FIRST_ERROR = 300
"""Status from which an answer is an error: redirects are not followed."""

_EXTENSIONS = {"timeout": {"connect": CONNECT_TIMEOUT_SECONDS}}

_SPEECH = "audio/speech"
_REFUSED_CREDENTIALS = (401, 403)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedRequest:
    """A request as it goes to a provider.

    Attributes:
        path: Path below the provider's base URL, such as ``chat/completions``.
        body: The body.
        content_type: Its media type, with the boundary of a form.
    """

    path: str
    body: bytes
    content_type: str


class Forwarder:
    """Sends requests on, over one pool of connections for each provider.

    Nothing is imported, opened or sent before the first request.

    Args:
        settings: Where the app's identity is.
    """

    def __init__(self, settings: Settings) -> None:
        self._in_azure = settings.in_azure
        self._identity_client_id = settings.azure_client_id
        self._pools: dict[ProviderConfig, httpx2.AsyncBaseTransport] = {}
        self._credential: AsyncTokenCredential | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def send(
        self, call: ProviderCall, request: ForwardedRequest, charge: Charge | None
    ) -> AsyncIterator[ForwardedAnswer | RealtimeAnswer]:
        """Sends a request and opens its answer; closing the block ends the provider's work on it.

        One attempt: the caller's client retries by itself, and knows what may be sent twice.

        Args:
            call: Which provider to call, for which model.
            request: What to send.
            charge: What the call is charged to; None where it costs nothing.

        Raises:
            ForwardedError: The provider answered with an error.
            ProviderDisconnected: No answer came.
            ProviderUnavailable: What came is no answer of HTTP.
            ProviderCredentials: The provider refused this app's credentials.
            ProviderTruncated: In the block: the connection broke.
        """
        config = call.config
        if request.path == _SPEECH and speaks_over_realtime(call.model):
            text = RealtimeText.of_fields(from_json(request.body))
            headers = await self.authorization(config)
            async with open_speech(call, text, headers, charge) as speech:
                yield speech
            return
        pool = await self._pool(config)
        import httpx2

        from shared.openai_service.failures import (
            network_reason,
            no_answer,
            refused_credentials,
            with_reason,
        )

        attempt = nullcontext() if charge is None else charge.attempt()
        with observed(call), attempt:
            # Without a client, for which redirects, cookies and authentication are work: what comes is
            # sent on as it is, and a cookie for one caller is none for the next.
            prepared = httpx2.Request(
                "POST",
                _url(call, request.path),
                content=request.body,
                headers={
                    "accept": "*/*",
                    # What comes is read on the side, and sent on in pieces.
                    "accept-encoding": "identity",
                    "user-agent": f"python-httpx2/{httpx2.__version__}",
                    **(await self.authorization(config)),
                    "content-type": request.content_type,
                },
                extensions=_EXTENSIONS,
            )
            if charge is not None:
                with charge.span.current():
                    inject(prepared.headers)
            try:
                response = await pool.handle_async_request(prepared)
            except httpx2.TransportError as error:
                raise with_reason(network_reason(error), no_answer(error)) from error
            try:
                if response.status_code in _REFUSED_CREDENTIALS:
                    raise refused_credentials(response.status_code, config)
                answer = ForwardedAnswer(response)
                if answer.status >= FIRST_ERROR:
                    raise await read_error(answer)
                yield answer
            finally:
                await response.aclose()

    async def aclose(self) -> None:
        """Closes all connections and the credential."""
        pools, self._pools = list(self._pools.values()), {}
        await asyncio.gather(*(pool.aclose() for pool in pools))
        if self._credential is not None:
            await self._credential.close()

    async def _pool(self, config: ProviderConfig) -> "httpx2.AsyncBaseTransport":
        if pool := self._pools.get(config):
            return pool
        async with self._opening:
            if config not in self._pools:
                # Loading the library and the certificates takes about 80 ms.
                self._pools[config] = await asyncio.to_thread(_open_pool)
        return self._pools[config]

    async def authorization(self, config: ProviderConfig) -> dict[str, str]:
        """Returns the headers that authenticate this app.

        Raises:
            ProviderCredentials: The identity gets no token.
        """
        headers: dict[str, str] = {}
        if config.organization:
            headers["OpenAI-Organization"] = config.organization
        if config.project:
            headers["OpenAI-Project"] = config.project
        if basic := _basic_authorization(config.base_url):
            return headers | {"Authorization": basic}
        if config.uses_identity:
            return headers | {"Authorization": f"Bearer {await self._token(config)}"}
        if config.api_key is None:
            return headers
        key = config.api_key.get_secret_value()
        if config.provider is Provider.AZURE:
            return headers | {"api-key": key}
        return headers | {"Authorization": f"Bearer {key}"}

    async def _token(self, config: ProviderConfig) -> str:
        if self._credential is None:
            self._credential = open_credential(
                in_azure=self._in_azure, client_id=self._identity_client_id
            )
        try:
            # The credential keeps the token until it expires.
            return (await self._credential.get_token(config.token_scope or "")).token
        except Exception as error:
            if not type(error).__module__.startswith("azure."):
                raise
            from shared.openai_service.failures import no_token

            raise no_token() from error


def _open_pool() -> "httpx2.AsyncBaseTransport":
    from shared.outbound.pool import operator_transport

    return operator_transport()


@lru_cache(MAX_URLS)
def _basic_authorization(base_url: str) -> str | None:
    """Returns what authenticates with a URL's user name and password; None where it has none.

    The SDK sends it in place of a key, too.
    """
    parts = urlsplit(base_url)
    if parts.username is None:
        return None
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {b64encode(credentials.encode()).decode()}"


@lru_cache(MAX_URLS)
def _parsed(url: str) -> "httpx2.URL":
    import httpx2

    return httpx2.URL(url)


def _url(call: ProviderCall, path: str) -> "httpx2.URL | str":
    config = call.config
    if config.api_version is None:
        return _parsed(f"{config.base_url}/{path}")
    # Azure's dated API has the deployment in the path, but for responses.
    place = (
        f"openai/{path}"
        if path == "responses"
        else f"openai/deployments/{quote(call.model or '', safe='')}/{path}"
    )
    return f"{config.base_url}/{place}?api-version={config.api_version}"
