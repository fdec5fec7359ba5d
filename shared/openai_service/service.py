"""One door to all providers: a capability goes in, the right client and model answer."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from shared.deadline import Deadline
from shared.errors import ContentFiltered, ProviderRejected
from shared.openai_service.adaptations import Adaptations
from shared.openai_service.calls import ProviderCall, observed
from shared.openai_service.clients import Clients
from shared.openai_service.completions import (
    Completion,
    CompletionReader,
    CompletionRequest,
    CompletionStream,
    read_completion,
    unfiltered,
)
from shared.openai_service.endpoints import Connection, Endpoint
from shared.openai_service.images import Images
from shared.openai_service.speech import Speech
from shared.openai_service.transcriptions import Transcriptions
from shared.openai_service.videos import Videos
from shared.settings import Capability, Settings
from shared.telemetry import current_record

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

T = TypeVar("T")

MODEL_LIST_TTL_SECONDS = 600

ModelList = Mapping[str, str | None]
"""The provider's models by id, each with its shutdown date where the provider announces one."""


class OpenAIService:
    """Calls the configured providers within deadlines.

    Nothing is imported, opened or sent before the first call.

    Args:
        settings: Where the endpoints come from.
    """

    def __init__(self, settings: Settings) -> None:
        self._clients = Clients(settings)
        self.images = Images(self._clients)
        self.speech = Speech(self._clients)
        self.transcriptions = Transcriptions(self._clients)
        self.videos = Videos(self._clients)
        self._adaptations = Adaptations()
        self._model_lists: dict[Connection, tuple[float, ModelList]] = {}
        self._listing: defaultdict[Connection, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def is_configured(self) -> bool:
        """Whether there is a provider for chat."""
        return self.find_endpoint(Capability.CHAT) is not None

    def find_endpoint(self, capability: Capability) -> Endpoint | None:
        """Returns the capability's endpoint, None where it has none."""
        return self._clients.find(capability)

    def endpoint(self, capability: Capability) -> Endpoint:
        """Returns the capability's endpoint.

        Raises:
            NotConfigured: It has none; the sentence names the settings.
        """
        return self._clients.endpoint(capability)

    def connections(self) -> Mapping[Connection, Sequence[Capability]]:
        """Returns the connections that are configured, each with the capabilities that use it."""
        found: dict[Connection, list[Capability]] = {}
        for capability in Capability:
            if endpoint := self.find_endpoint(capability):
                found.setdefault(endpoint.connection, []).append(capability)
        return found

    async def complete(self, request: CompletionRequest, deadline: Deadline) -> Completion:
        """Returns a whole chat completion.

        Raises:
            NotConfigured: No provider for chat.
            DeadlineExceeded: No answer in time.
            ContentFiltered: The provider withheld the whole answer.
            ProviderError: The provider failed or refused.
        """
        endpoint = self.endpoint(Capability.CHAT)
        parameters = request.parameters(endpoint.target)

        async def ask(api: "AsyncOpenAI", adapted: Mapping[str, Any]) -> Completion:
            return read_completion(await api.chat.completions.create(**adapted))

        call = ProviderCall.with_model(Capability.CHAT, endpoint, parameters["model"])
        return _counted(await self._ask(call, parameters, ask, deadline))

    async def stream(self, request: CompletionRequest, deadline: Deadline) -> CompletionStream:
        """Yields a chat completion as it comes: pieces of text, then the whole `Completion`.

        Closing the generator closes the connection, which stops the provider.

        Raises:
            NotConfigured: No provider for chat.
            DeadlineExceeded: The answer is not complete in time.
            ContentFiltered: The provider withheld the whole answer.
            ProviderTruncated: The stream ended before the answer did.
            ProviderError: The provider failed or refused.
        """
        endpoint = self.endpoint(Capability.CHAT)
        parameters = request.parameters(endpoint.target)
        parameters |= {"stream": True, "stream_options": {"include_usage": True}}

        async def ask(
            api: "AsyncOpenAI", adapted: Mapping[str, Any]
        ) -> "AsyncStream[ChatCompletionChunk]":
            stream: AsyncStream[ChatCompletionChunk] = await api.chat.completions.create(**adapted)
            return stream

        call = ProviderCall.with_model(Capability.CHAT, endpoint, parameters["model"])
        stream = await self._ask(call, parameters, ask, deadline)
        from shared.openai_service.sdk import provider_errors, truncated

        reader = CompletionReader()
        with observed(call, deadline):
            try:
                while True:
                    if not deadline.remaining():
                        # Chunks that are there already never let a timeout cut in.
                        raise deadline.exceeded()
                    with provider_errors(call.connection):
                        chunk = await deadline.wait_for(anext(stream, None))
                    if chunk is None:
                        break
                    if text := reader.add(chunk):
                        yield text
            except ContentFiltered:
                reader.end_by_filter()
            finally:
                await stream.close()
            if not reader.is_complete:
                raise truncated()
        yield _counted(reader.result())

    async def list_models(
        self, capability: Capability, deadline: Deadline, *, fresh: bool = False
    ) -> ModelList:
        """Returns the models that the capability's provider lists, from a cache of ten minutes.

        Args:
            capability: Whose provider to ask.
            deadline: The budget of the request.
            fresh: Whether to ask in any case.

        Raises:
            NotConfigured: No provider for the capability.
            DeadlineExceeded: No answer in time.
            ProviderError: The provider failed or refused.
        """
        connection = self.endpoint(capability).connection
        # Several capabilities of one provider are asked about together: the first asks for all.
        async with deadline.limit(), self._listing[connection]:
            if not fresh and (known := self._model_lists.get(connection)):
                known_at, models = known
                if monotonic() - known_at < MODEL_LIST_TTL_SECONDS:
                    return models
            call = ProviderCall(capability, connection)
            models = await self._clients.call(call, _fetch_models, deadline)
            self._model_lists[connection] = (monotonic(), models)
            return models

    async def _ask(
        self,
        call: ProviderCall,
        parameters: Mapping[str, Any],
        ask: "Callable[[AsyncOpenAI, Mapping[str, Any]], Awaitable[T]]",
        deadline: Deadline,
    ) -> T:
        """Asks, once more for each parameter that turns out to be refused and can be done without."""
        refused: set[str] = set()
        while True:
            adapted = self._adaptations.apply(call.connection, parameters, refused)

            async def attempt(api: "AsyncOpenAI", adapted: Mapping[str, Any] = adapted) -> T:
                return await ask(api, adapted)

            try:
                return await self._clients.call(call, attempt, deadline)
            except ProviderRejected as error:
                name = self._adaptations.learn(call.connection, adapted, error)
                if name is None:
                    raise
                refused.add(name)

    async def aclose(self) -> None:
        """Closes all clients."""
        await self._clients.aclose()


def _counted(completion: Completion) -> Completion:
    """Notes the tokens of an answer and returns it, unless the filter left nothing of it."""
    if (usage := completion.usage) is not None:
        current_record().add_tokens(usage["prompt_tokens"], usage["completion_tokens"])
    return unfiltered(completion)


async def _fetch_models(api: "AsyncOpenAI") -> ModelList:
    rows = getattr(await api.models.list(), "data", None)
    return {row.id: getattr(row, "shutdown_date", None) for row in rows or ()}
