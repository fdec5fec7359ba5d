"""Text to speech, streamed, and speech to text.

Sources: https://platform.openai.com/docs/api-reference/audio/createSpeech and createTranscription there
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from shared.errors import ProviderUnavailable
from shared.openai_service import estimates
from shared.openai_service.answer_fields import reported_count, reported_number
from shared.openai_service.client import (
    Clients,
    InputFile,
    ProviderCall,
    idempotency_headers,
    receive,
)
from shared.openai_service.forwarding import Forwarder
from shared.openai_service.metering import Consumption
from shared.openai_service.realtime import RealtimeText, open_speech, speaks_over_realtime
from shared.openai_service.routing import falling_back, route
from shared.openai_service.text import repair_surrogates
from shared.settings import Capability

if TYPE_CHECKING:
    from openai import AsyncAPIResponse, AsyncOpenAI

CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechRequest:
    """One call of the speech API; what is None is not sent.

    Attributes:
        text: What to say.
        voice: The voice.
        response_format: ``mp3``, ``opus``, ``aac``, ``flac``, ``wav`` or ``pcm``.
        operation_id: The same for every attempt at this clip.
        model: Model or deployment; None for the configured one.
        speed: Factor of the voice's own speed.
        instructions: How to say it.
    """

    text: str
    voice: str
    response_format: str
    operation_id: str
    model: str | None = None
    speed: float | None = None
    instructions: str | None = None

    def parameters(self, model: str) -> dict[str, Any]:
        """Returns the keyword arguments for the SDK."""
        parameters: dict[str, Any] = {
            "input": self.text,
            "model": model,
            "voice": self.voice,
            "response_format": self.response_format,
            "speed": self.speed,
            "instructions": self.instructions,
        }
        sent = {name: value for name, value in parameters.items() if value is not None}
        return sent | {"extra_headers": idempotency_headers(self.operation_id)}


@dataclass(frozen=True, slots=True)
class SpeechStream:
    """A clip as it comes.

    Attributes:
        model: The model or deployment that was asked.
        chunks: Its bytes.
        cost_usd: US dollars by its length, as providers report nothing; None where nobody knows.
    """

    model: str
    chunks: AsyncIterator[bytes]
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptionRequest:
    """One call of the transcription API; what is None is not sent.

    Attributes:
        clip: The recording.
        operation_id: The same for every attempt at this transcription.
        language: Its language, as ISO 639-1.
        prompt: Words to expect, or how to write.
        model: Model or deployment; None for the configured one.
    """

    clip: InputFile
    operation_id: str
    language: str | None = None
    prompt: str | None = None
    model: str | None = None

    def parameters(self, model: str) -> dict[str, Any]:
        """Returns the keyword arguments for the SDK."""
        parameters: dict[str, Any] = {
            "file": self.clip.as_part(),
            "model": model,
            "language": self.language,
            "prompt": self.prompt,
        }
        sent = {name: value for name, value in parameters.items() if value is not None}
        return sent | {"extra_headers": idempotency_headers(self.operation_id)}


@dataclass(frozen=True, slots=True)
class Transcription:
    """What a clip says.

    Attributes:
        text: Its words.
        model: The model or deployment that was asked.
        consumption: What the call used; None where the provider did not report it.
    """

    text: str
    model: str
    consumption: Consumption | None


class Audio:
    """The speech and the transcription API of the providers that serve them."""

    def __init__(self, clients: Clients, forwarder: Forwarder) -> None:
        self._clients = clients
        self._forwarder = forwarder

    @asynccontextmanager
    async def speak(self, request: SpeechRequest) -> AsyncIterator[SpeechStream]:
        """Speaks a text; the clip is never held in memory.

        Raises:
            NotConfigured: No provider for audio.
            ProviderTruncated: The connection broke in the middle of the clip.
            ProviderError: The provider failed or refused.
        """
        async with AsyncExitStack() as held:
            yield await self._open(held, request)

    async def transcribe(self, request: TranscriptionRequest) -> Transcription:
        """Writes down what a clip says.

        Raises:
            NotConfigured: No provider for transcription.
            ProviderError: The provider failed or refused.
        """
        clip = request.clip
        estimate = estimates.of_recording(len(clip.data), clip.content_type)
        for call in route(self._clients.endpoints, Capability.TRANSCRIPTION, request.model):
            send = partial(_transcribe, request.parameters(call.model or ""))
            with falling_back(call):
                async with self._clients.charge(call, estimate) as charge:
                    transcription = await self._clients.call(call, send, charge, repeatable=False)
                    charge.report(transcription.consumption)
                return transcription
        raise AssertionError("unreachable: the last call returns or raises")

    async def _open(self, held: AsyncExitStack, request: SpeechRequest) -> SpeechStream:
        for call in route(self._clients.endpoints, Capability.AUDIO, request.model):
            with falling_back(call):
                return await self._speak(held, request, call)
        raise AssertionError("unreachable: the last call returns or raises")

    async def _speak(
        self, held: AsyncExitStack, request: SpeechRequest, call: ProviderCall
    ) -> SpeechStream:
        model = call.model or ""
        is_realtime = speaks_over_realtime(model)
        # Before anything is paid for: it may ask for what a realtime model cannot do.
        text = RealtimeText.of_fields(request.parameters(model)) if is_realtime else None
        estimate = estimates.of_speech(request.text)
        async with AsyncExitStack() as stack:
            charge = await stack.enter_async_context(self._clients.charge(call, estimate))
            if text is not None:
                headers = await self._forwarder.authorization(call.config)
                speech = await stack.enter_async_context(open_speech(call, text, headers, charge))
                held.push_async_exit(stack.pop_all())
                return SpeechStream(model, speech.chunks(), charge.cost)
            send = partial(_speak, stack, request.parameters(model))
            answer = await self._clients.call(call, send, charge, repeatable=False)
            charge.note_output()
            pieces = answer.iter_bytes(CHUNK_BYTES)
            held.push_async_exit(stack.pop_all())
        return SpeechStream(model, receive(pieces, call), charge.cost)


async def _speak(
    stack: AsyncExitStack, parameters: Mapping[str, Any], api: "AsyncOpenAI"
) -> "AsyncAPIResponse[Any]":
    answer = await stack.enter_async_context(
        api.audio.speech.with_streaming_response.create(**parameters)
    )
    if "json" in answer.headers.get("content-type", ""):
        raise ProviderUnavailable(
            "The provider's answer is not audio. Check its base URL, or try again."
        )
    return answer


async def _transcribe(parameters: Mapping[str, Any], api: "AsyncOpenAI") -> Transcription:
    answer: object = await api.audio.transcriptions.create(**parameters)
    text = getattr(answer, "text", None)
    if not isinstance(text, str):
        raise ProviderUnavailable(
            "The provider's answer is not a transcription. Check its base URL, or try again."
        )
    consumption = _consumption(getattr(answer, "usage", None))
    return Transcription(repair_surrogates(text), parameters["model"], consumption)


def _consumption(usage: object) -> Consumption | None:
    """Returns what a transcription used: providers report tokens or seconds, by the model."""
    seconds = reported_number(getattr(usage, "seconds", None))
    tokens = reported_count(getattr(usage, "input_tokens", None))
    if seconds is None and tokens is None:
        return None
    details = getattr(usage, "input_token_details", None)
    return Consumption(
        seconds=seconds,
        input_tokens=tokens,
        input_audio_tokens=reported_count(getattr(details, "audio_tokens", None)),
        output_tokens=reported_count(getattr(usage, "output_tokens", None)),
    )
