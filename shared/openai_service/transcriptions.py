"""Speech to text.

Source: https://platform.openai.com/docs/api-reference/audio/createTranscription
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.deadline import Deadline
from shared.errors import ProviderUnavailable
from shared.openai_service.calls import ProviderCall
from shared.openai_service.characters import whole_characters
from shared.openai_service.clients import Clients
from shared.openai_service.files import InputFile, idempotency_headers
from shared.settings import Capability
from shared.telemetry import current_record

if TYPE_CHECKING:
    from openai import AsyncOpenAI


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptionRequest:
    """One call of the transcription API; what is None is not sent.

    Attributes:
        clip: What was said.
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


@dataclass(frozen=True, slots=True)
class Transcription:
    """What was said.

    Attributes:
        text: Its words.
        model: The model or deployment that was asked.
    """

    text: str
    model: str


class Transcriptions:
    """The transcription API of whoever serves it."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def create(self, request: TranscriptionRequest, deadline: Deadline) -> Transcription:
        """Writes down what a clip says.

        Raises:
            NotConfigured: No provider for transcription.
            DeadlineExceeded: No answer in time.
            ProviderError: The provider failed or refused.
        """
        endpoint = self._clients.endpoint(Capability.TRANSCRIPTION)
        model = request.model or endpoint.target
        options = {"language": request.language, "prompt": request.prompt}
        parameters: dict[str, Any] = {
            name: value for name, value in options.items() if value is not None
        }

        async def ask(api: "AsyncOpenAI") -> Transcription:
            answer: object = await api.audio.transcriptions.create(
                file=request.clip.as_part(),
                model=model,
                extra_headers=idempotency_headers(request.operation_id),
                **parameters,
            )
            text = getattr(answer, "text", None)
            if not isinstance(text, str):
                raise ProviderUnavailable(
                    "The provider's answer is not a transcription. Check its base URL, or try again."
                )
            usage = getattr(answer, "usage", None)
            current_record().add_tokens(
                getattr(usage, "input_tokens", None), getattr(usage, "output_tokens", None)
            )
            return Transcription(whole_characters(text), model)

        call = ProviderCall.with_model(Capability.TRANSCRIPTION, endpoint, model)
        return await self._clients.call(call, ask, deadline, repeatable=False)
