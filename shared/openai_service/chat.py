"""Chat completions, whole or streamed, without the parameters that a model refuses."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from shared.deadline import check_deadline
from shared.errors import ContentFiltered, ProviderRejected
from shared.openai_service.client import Clients, ProviderCall, observed
from shared.openai_service.completions import (
    Completion,
    CompletionReader,
    CompletionRequest,
    CompletionStream,
    read_completion,
    unfiltered,
)
from shared.openai_service.fallbacks import ParameterFallbacks
from shared.settings import Capability
from shared.telemetry import current_record

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

T = TypeVar("T")


class Chat:
    """The chat completions API of the provider that serves chat."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._fallbacks = ParameterFallbacks()

    async def complete(self, request: CompletionRequest) -> Completion:
        """Returns a whole chat completion.

        Raises:
            NotConfigured: No provider for chat.
            ContentFiltered: The provider withheld the whole answer.
            ProviderError: The provider failed or refused.
        """
        call, parameters = self._prepare(request)
        return _counted(await self._create(call, parameters, _complete))

    async def stream(self, request: CompletionRequest) -> CompletionStream:
        """Yields a chat completion as it comes: pieces of text, then the whole `Completion`.

        Closing the generator closes the connection, which stops the provider.

        Raises:
            NotConfigured: No provider for chat.
            ContentFiltered: The provider withheld the whole answer.
            ProviderTruncated: The stream ended before the answer did.
            ProviderError: The provider failed or refused.
        """
        call, parameters = self._prepare(request)
        parameters |= {"stream": True, "stream_options": {"include_usage": True}}
        stream = await self._create(call, parameters, _open_stream)
        from shared.openai_service.failures import truncated
        from shared.openai_service.sdk import provider_errors

        reader = CompletionReader()
        with observed(call):
            try:
                with provider_errors(call.config):
                    while (chunk := await anext(stream, None)) is not None:
                        check_deadline()
                        if text := reader.add(chunk):
                            yield text
            except ContentFiltered:
                reader.end_by_filter()
            finally:
                await stream.close()
            if not reader.is_complete:
                raise truncated()
        yield _counted(reader.result())

    def _prepare(self, request: CompletionRequest) -> tuple[ProviderCall, dict[str, Any]]:
        endpoint = self._clients.endpoints.get(Capability.CHAT)
        call = ProviderCall.with_model(Capability.CHAT, endpoint, request.model)
        return call, request.parameters(endpoint.target)

    async def _create(
        self,
        call: ProviderCall,
        parameters: Mapping[str, Any],
        send: "Callable[[Mapping[str, Any], AsyncOpenAI], Awaitable[T]]",
    ) -> T:
        """Calls the API, once more for each refused parameter that has a fallback."""
        refused: set[str] = set()
        while True:
            adapted = self._fallbacks.apply(call.config, parameters, refused)
            try:
                return await self._clients.call(call, partial(send, adapted))
            except ProviderRejected as error:
                name = self._fallbacks.learn(call.config, adapted, error)
                if name is None:
                    raise
                refused.add(name)


async def _complete(parameters: Mapping[str, Any], api: "AsyncOpenAI") -> Completion:
    return read_completion(await api.chat.completions.create(**parameters))


async def _open_stream(
    parameters: Mapping[str, Any], api: "AsyncOpenAI"
) -> "AsyncStream[ChatCompletionChunk]":
    stream: AsyncStream[ChatCompletionChunk] = await api.chat.completions.create(**parameters)
    return stream


def _counted(completion: Completion) -> Completion:
    """Notes the tokens of an answer and returns it, unless the filter left nothing of it."""
    if (usage := completion.usage) is not None:
        current_record().add_tokens(usage["prompt_tokens"], usage["completion_tokens"])
    return unfiltered(completion)
