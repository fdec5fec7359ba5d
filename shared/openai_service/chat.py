"""Chat completions, whole or streamed, without the parameters that a model refuses."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from shared.deadline import check_deadline
from shared.errors import ContentFiltered, ProviderError, ProviderRejected
from shared.openai_service import estimates
from shared.openai_service.charge import Charge
from shared.openai_service.client import Clients, ProviderCall, observed
from shared.openai_service.completions import (
    Completion,
    CompletionReader,
    CompletionRequest,
    CompletionStream,
    Usage,
    read_completion,
    unfiltered,
)
from shared.openai_service.metering import NOTHING, Consumption
from shared.openai_service.refused_parameters import RefusedParameters
from shared.openai_service.routing import falling_back, falls_back, route
from shared.settings import Capability

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream

T = TypeVar("T")

_PATH = "/chat/completions"


class Chat:
    """The chat completions API of the providers that serve chat."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._refused_parameters = RefusedParameters()

    async def complete(self, request: CompletionRequest) -> Completion:
        """Returns a whole chat completion.

        Raises:
            NotConfigured: No provider for chat.
            ContentFiltered: The provider withheld the whole answer.
            ProviderError: The provider failed or refused.
        """
        for call in self._route(request):
            parameters = request.parameters(call.model or "")
            with falling_back(call):
                async with self._clients.charge(call, estimates.of_chat(parameters)) as charge:
                    completion = await self._create(call, parameters, _complete, charge)
                    charge.report(_consumption(completion.usage), completion.model)
                    return unfiltered(completion)
        raise AssertionError("unreachable: the last call returns or raises")

    async def stream(self, request: CompletionRequest) -> CompletionStream:
        """Yields a chat completion as it comes: pieces of text, then the whole `Completion`.

        Closing the generator closes the connection, which stops the provider.

        Raises:
            NotConfigured: No provider for chat.
            ContentFiltered: The provider withheld the whole answer.
            ProviderTruncated: The stream ended before the answer did.
            ProviderError: The provider failed or refused.
        """
        for call in self._route(request):
            has_begun = False
            try:
                async with aclosing(self._stream(request, call)) as stream:
                    async for piece in stream:
                        has_begun = True
                        yield piece
                return
            except ProviderError as error:
                if has_begun or not falls_back(call, error):
                    raise

    def _route(self, request: CompletionRequest) -> Sequence[ProviderCall]:
        self._clients.endpoints.check_other_models(request.extra)
        return route(self._clients.endpoints, Capability.CHAT, request.model)

    async def _stream(self, request: CompletionRequest, call: ProviderCall) -> CompletionStream:
        parameters = request.parameters(call.model or "")
        parameters |= {"stream": True, "stream_options": {"include_usage": True}}
        async with self._clients.charge(call, estimates.of_chat(parameters)) as charge:
            stream = await self._create(call, parameters, _open_stream, charge)
            from shared.openai_service.failures import truncated
            from shared.openai_service.sdk import provider_errors

            reader = CompletionReader()
            with observed(call):
                try:
                    with provider_errors(call.config):
                        while (chunk := await anext(stream, None)) is not None:
                            check_deadline()
                            used = reader.usage
                            text = reader.add(chunk)
                            charge.note_output()
                            if reader.usage is not used:
                                charge.report(_consumption(reader.usage), reader.model)
                            if text:
                                yield text
                except ContentFiltered:
                    reader.end_by_filter()
                finally:
                    await stream.close()
                if not reader.is_complete:
                    raise truncated()
            completion = unfiltered(reader.result())
        yield completion

    async def _create(
        self,
        call: ProviderCall,
        parameters: Mapping[str, Any],
        send: "Callable[[Mapping[str, Any], AsyncOpenAI], Awaitable[T]]",
        charge: Charge,
    ) -> T:
        """Calls the API, once more for each refused parameter that has a fallback."""
        refused: set[str] = set()
        while True:
            adapted = self._refused_parameters.apply(call.config, parameters, refused)
            try:
                return await self._clients.call(call, partial(send, adapted), charge)
            except ProviderRejected as error:
                name = self._refused_parameters.learn(call.config, adapted, error)
                if name is None:
                    raise
                refused.add(name)


# The SDK's own method would compare each message with all types that it has, to find fields that have
# other names in Python, of which there are none: 50 ms for 140 messages, in which nothing else runs. Of
# each chunk of an answer it would make five objects.


async def _complete(parameters: Mapping[str, Any], api: "AsyncOpenAI") -> Completion:
    return read_completion(await api.post(_PATH, cast_to=object, body=_body(parameters)))


async def _open_stream(parameters: Mapping[str, Any], api: "AsyncOpenAI") -> "AsyncStream[object]":
    from openai import AsyncStream

    body = _body(parameters)
    return await api.post(
        _PATH, cast_to=object, body=body, stream=True, stream_cls=AsyncStream[object]
    )


def _body(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the body of a request, with what the API itself does not know."""
    known = {name: value for name, value in parameters.items() if name != "extra_body"}
    return {**known, **parameters.get("extra_body", {})}


def _consumption(usage: Usage | None) -> Consumption | None:
    if usage is None:
        return None
    used = Consumption(
        input_tokens=usage["prompt_tokens"],
        cached_tokens=usage["cached_tokens"],
        output_tokens=usage["completion_tokens"],
        reasoning_tokens=usage["reasoning_tokens"],
    )
    # A report without any number says nothing, and makes no call free.
    return None if used == NOTHING else used
