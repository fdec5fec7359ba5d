"""Endpoints and the SDK clients that reach them, opened when first needed."""

import asyncio
import importlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from shared.deadline import Deadline
from shared.errors import GatewayError, NotConfigured
from shared.openai_service.calls import ProviderCall, describe, observed
from shared.openai_service.endpoints import (
    Connection,
    Endpoint,
    Missing,
    resolve_endpoints,
)
from shared.openai_service.retries import with_retries
from shared.settings import Capability, Settings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from shared.openai_service.sdk import Client

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Clients:
    """The providers' clients, one for each connection, shared by the capabilities that use it.

    Nothing is imported, opened or sent before the first call.

    Args:
        settings: Where the endpoints come from.
    """

    def __init__(self, settings: Settings) -> None:
        self._in_azure = settings.in_azure
        self._identity_client_id = settings.azure_client_id
        self._endpoints = resolve_endpoints(settings)
        self._open_clients: dict[Connection, Client] = {}
        self._opening = asyncio.Lock()

    def find(self, capability: Capability) -> Endpoint | None:
        """Returns the capability's endpoint, None where it has none."""
        endpoint = self._endpoints[capability]
        return endpoint if isinstance(endpoint, Endpoint) else None

    def endpoint(self, capability: Capability) -> Endpoint:
        """Returns the capability's endpoint.

        Raises:
            NotConfigured: It has none; the sentence names the settings.
        """
        endpoint = self._endpoints[capability]
        if isinstance(endpoint, Missing):
            raise NotConfigured(endpoint.detail)
        return endpoint

    async def call(
        self,
        call: ProviderCall,
        use: "Callable[[AsyncOpenAI], Awaitable[T]]",
        deadline: Deadline,
        *,
        repeatable: bool = True,
    ) -> T:
        """Calls a provider, again where that is allowed and may help.

        Args:
            call: Whom to call, for what.
            use: Makes one attempt with the SDK's client.
            deadline: The budget of the whole request.
            repeatable: Whether a request that may have arrived may be sent again.

        Raises:
            DeadlineExceeded: No answer in time.
            ProviderError: The provider failed or refused.
        """
        client = await deadline.wait_for(self._client(call.connection))
        from shared.openai_service.sdk import provider_errors

        async def attempt() -> T:
            with _attempt(call), provider_errors(call.connection):
                return await use(client.api)

        with observed(call, deadline):
            return await with_retries(attempt, deadline, repeatable=repeatable)

    async def aclose(self) -> None:
        """Closes all clients."""
        clients, self._open_clients = list(self._open_clients.values()), {}
        await asyncio.gather(*(client.aclose() for client in clients))

    async def _client(self, connection: Connection) -> "Client":
        if client := self._open_clients.get(connection):
            return client
        async with self._opening:
            if connection not in self._open_clients:
                opened = await asyncio.to_thread(self._open, connection)
                self._open_clients[connection] = opened
        return self._open_clients[connection]

    def _open(self, connection: Connection) -> "Client":
        sdk = importlib.import_module("shared.openai_service.sdk")
        client: Client = sdk.open_client(
            connection, in_azure=self._in_azure, identity_client_id=self._identity_client_id
        )
        return client


@contextmanager
def _attempt(call: ProviderCall) -> Iterator[None]:
    """Tells at level debug of each attempt, how long it took and how it ended."""
    started = monotonic()
    result = "cancelled"
    try:
        yield
        result = "ok"
    except GatewayError as error:
        result = getattr(error, "reason", None) or error.code
        raise
    finally:
        milliseconds = round((monotonic() - started) * 1000, 1)
        if logger.isEnabledFor(logging.DEBUG):
            line = {**describe(call), "duration_ms": milliseconds, "result": result}
            logger.debug("provider_attempt %s", json.dumps(line))
