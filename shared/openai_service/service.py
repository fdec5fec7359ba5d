"""One door to all providers: a capability goes in, the right client and model answer."""

import asyncio
import importlib
from collections import defaultdict
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING

from shared.deadline import Deadline
from shared.errors import NotConfigured
from shared.openai_service.completions import (
    Completion,
    CompletionReader,
    CompletionRequest,
    CompletionStream,
    read_completion,
)
from shared.openai_service.endpoints import (
    Capability,
    Connection,
    Endpoint,
    Missing,
    resolve_endpoints,
)
from shared.openai_service.retries import with_retries
from shared.settings import Settings

if TYPE_CHECKING:
    from openai import AsyncStream
    from openai.types.chat import ChatCompletionChunk

    from shared.openai_service.sdk import Client

MODEL_LIST_TTL_SECONDS = 600

ModelList = Mapping[str, str | None]
"""The provider's models by id, each with its shutdown date where the provider announces one."""


class OpenAIService:
    """Calls the configured providers within deadlines.

    Nothing is imported, opened or sent before the first call. Clients are made once per connection
    and shared by the capabilities that use it.

    Args:
        settings: Where the endpoints come from.
    """

    def __init__(self, settings: Settings) -> None:
        self._in_azure = settings.in_azure
        self._identity_client_id = settings.azure_client_id
        self._endpoints = resolve_endpoints(settings)
        self._clients: dict[Connection, Client] = {}
        self._opening = asyncio.Lock()
        self._model_lists: dict[Connection, tuple[float, ModelList]] = {}
        self._listing: defaultdict[Connection, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def is_configured(self) -> bool:
        """Whether there is a provider for chat."""
        return isinstance(self._endpoints[Capability.CHAT], Endpoint)

    def find_endpoint(self, capability: Capability) -> Endpoint | None:
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

    async def complete(self, request: CompletionRequest, deadline: Deadline) -> Completion:
        """Returns a whole chat completion.

        Raises:
            NotConfigured: No provider for chat.
            DeadlineExceeded: No answer in time.
            ProviderError: The provider failed or refused.
        """
        endpoint = self.endpoint(Capability.CHAT)
        parameters = request.parameters(endpoint.target)
        client = await deadline.wait_for(self._client(endpoint.connection))
        from shared.openai_service.sdk import provider_errors

        async def attempt() -> Completion:
            with provider_errors(endpoint.connection):
                return read_completion(await client.api.chat.completions.create(**parameters))

        return await with_retries(attempt, deadline)

    async def stream(self, request: CompletionRequest, deadline: Deadline) -> CompletionStream:
        """Yields a chat completion as it comes: pieces of text, then the whole `Completion`.

        Closing the generator closes the connection, which stops the provider.

        Raises:
            NotConfigured: No provider for chat.
            DeadlineExceeded: The answer is not complete in time.
            ProviderTruncated: The stream ended without a finish reason.
            ProviderError: The provider failed or refused.
        """
        endpoint = self.endpoint(Capability.CHAT)
        parameters = request.parameters(endpoint.target)
        parameters |= {"stream": True, "stream_options": {"include_usage": True}}
        client = await deadline.wait_for(self._client(endpoint.connection))
        from shared.openai_service.sdk import provider_errors, truncated

        async def attempt() -> "AsyncStream[ChatCompletionChunk]":
            with provider_errors(endpoint.connection):
                stream: AsyncStream[ChatCompletionChunk] = await client.api.chat.completions.create(
                    **parameters
                )
                return stream

        stream = await with_retries(attempt, deadline)
        reader = CompletionReader()
        try:
            while True:
                with provider_errors(endpoint.connection):
                    chunk = await deadline.wait_for(anext(stream, None))
                if chunk is None:
                    break
                if text := reader.add(chunk):
                    yield text
        finally:
            await stream.close()
        if reader.finish_reason is None:
            raise truncated()
        yield reader.result()

    async def list_models(self, capability: Capability, deadline: Deadline) -> ModelList:
        """Returns the models that the capability's provider lists, from a cache of ten minutes.

        Raises:
            NotConfigured: No provider for the capability.
            DeadlineExceeded: No answer in time.
            ProviderError: The provider failed or refused.
        """
        connection = self.endpoint(capability).connection
        # Several capabilities of one provider are asked about together: the first asks for all.
        async with deadline.limit(), self._listing[connection]:
            if known := self._model_lists.get(connection):
                known_at, models = known
                if monotonic() - known_at < MODEL_LIST_TTL_SECONDS:
                    return models
            models = await self._fetch_models(connection, deadline)
            self._model_lists[connection] = (monotonic(), models)
            return models

    async def _fetch_models(self, connection: Connection, deadline: Deadline) -> ModelList:
        client = await self._client(connection)
        from shared.openai_service.sdk import provider_errors

        async def attempt() -> ModelList:
            with provider_errors(connection):
                rows = getattr(await client.api.models.list(), "data", None)
                return {row.id: getattr(row, "shutdown_date", None) for row in rows or ()}

        return await with_retries(attempt, deadline)

    async def aclose(self) -> None:
        """Closes all clients."""
        clients, self._clients = list(self._clients.values()), {}
        await asyncio.gather(*(client.aclose() for client in clients))

    async def _client(self, connection: Connection) -> "Client":
        if client := self._clients.get(connection):
            return client
        async with self._opening:
            if connection not in self._clients:
                self._clients[connection] = await asyncio.to_thread(self._open, connection)
        return self._clients[connection]

    def _open(self, connection: Connection) -> "Client":
        sdk = importlib.import_module("shared.openai_service.sdk")
        client: Client = sdk.open_client(
            connection, in_azure=self._in_azure, identity_client_id=self._identity_client_id
        )
        return client
