"""Text to speech, streamed.

Source: https://platform.openai.com/docs/api-reference/audio/createSpeech
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.deadline import Deadline
from shared.errors import ProviderUnavailable
from shared.openai_service.calls import ProviderCall
from shared.openai_service.clients import Clients
from shared.openai_service.files import idempotency_headers, under_deadline
from shared.settings import Capability

if TYPE_CHECKING:
    from openai import AsyncAPIResponse, AsyncOpenAI

CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechRequest:
    """One call of the speech API; what is None is not sent.

    Attributes:
        text: What to say.
        voice: Who says it.
        response_format: ``mp3``, ``opus``, ``aac``, ``flac``, ``wav`` or ``pcm``.
        operation_id: The same for every attempt at this clip.
        model: Model or deployment; None for the configured one.
        speed: 1 for the voice's own.
        instructions: How to say it.
    """

    text: str
    voice: str
    response_format: str
    operation_id: str
    model: str | None = None
    speed: float | None = None
    instructions: str | None = None

    def parameters(self, target: str) -> dict[str, Any]:
        """Returns the keyword arguments for the SDK."""
        parameters: dict[str, Any] = {
            "input": self.text,
            "model": self.model or target,
            "voice": self.voice,
            "response_format": self.response_format,
            "speed": self.speed,
            "instructions": self.instructions,
        }
        sent = {name: value for name, value in parameters.items() if value is not None}
        return sent | {"extra_headers": idempotency_headers(self.operation_id)}


@dataclass(frozen=True, slots=True)
class SpeechStream:
    """A clip while it comes.

    Attributes:
        model: The model or deployment that was asked.
        chunks: Its bytes.
    """

    model: str
    chunks: AsyncIterator[bytes]


class Speech:
    """The speech API of whoever serves audio."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    @asynccontextmanager
    async def stream(
        self, request: SpeechRequest, deadline: Deadline
    ) -> AsyncIterator[SpeechStream]:
        """Says a text; the clip is never held in memory.

        Raises:
            NotConfigured: No provider for audio.
            DeadlineExceeded: The clip is not complete in time.
            ProviderTruncated: The connection broke in the middle of the clip.
            ProviderError: The provider failed or refused.
        """
        endpoint = self._clients.endpoint(Capability.AUDIO)
        parameters = request.parameters(endpoint.target)
        call = ProviderCall.with_model(Capability.AUDIO, endpoint, parameters["model"])
        async with AsyncExitStack() as stack:

            async def ask(api: "AsyncOpenAI") -> "AsyncAPIResponse[Any]":
                speaking = api.audio.speech.with_streaming_response.create(**parameters)
                answer = await stack.enter_async_context(speaking)
                if "json" in answer.headers.get("content-type", ""):
                    raise ProviderUnavailable(
                        "The provider's answer is not audio. Check its base URL, or try again."
                    )
                return answer

            answer = await self._clients.call(call, ask, deadline, repeatable=False)
            pieces = answer.iter_bytes(CHUNK_BYTES)
            chunks = under_deadline(pieces, call, deadline)
            yield SpeechStream(parameters["model"], chunks)
