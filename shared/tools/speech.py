"""Speech tools: text to speech, stored as a clip, and stored clips to text."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from shared.context import CallContext
from shared.errors import ProviderTruncated, ProviderUnavailable
from shared.openai_service import (
    Capability,
    OpenAIService,
    SpeechRequest,
    TranscriptionRequest,
    speaks_over_realtime,
)
from shared.storage import (
    Media,
    MediaFormat,
    MediaKind,
    MediaRecord,
    MediaStore,
    Origin,
    formats,
    keep_retrying,
)
from shared.tools.inputs import MediaId, NotBlank, read_inputs
from shared.tools.streams import peek
from shared.tools.tool import tool

MAX_TEXT_CHARS = 4096
MAX_INSTRUCTIONS_CHARS = 4096
MAX_CLIP_BYTES = 256 * 1024 * 1024
DEFAULT_VOICE = "alloy"

ResponseFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

_FORMATS: dict[ResponseFormat, MediaFormat] = {
    "mp3": formats.MP3,
    "opus": formats.OGG,
    "aac": formats.AAC,
    "flac": formats.FLAC,
    "wav": formats.WAV,
    "pcm": formats.PCM,
}


class SpeechResult(TypedDict):
    """Result of `SpeechTools.synthesize_speech`."""

    media: Media
    model: str
    voice: str


class TranscriptionResult(TypedDict):
    """Result of `SpeechTools.transcribe_audio`."""

    text: str
    model: str


class SpeechTools:
    """Tools that synthesize speech and transcribe it.

    Args:
        openai: The providers.
        media: Stores clips, and has those to transcribe.
    """

    def __init__(self, openai: OpenAIService, media: MediaStore) -> None:
        self._openai = openai
        self._media = media

    @tool(
        title="Synthesize speech",
        icon="audio.png",
        idempotent_by_key=True,
        detached=True,
        paid=True,
        has_media=True,
    )
    async def synthesize_speech(
        self,
        context: CallContext,
        text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS), NotBlank],
        voice: Annotated[str, Field(min_length=1, max_length=100)] = DEFAULT_VOICE,
        model: str | None = None,
        response_format: ResponseFormat | None = None,
        speed: Annotated[float, Field(ge=0.25, le=4)] | None = None,
        instructions: Annotated[str, Field(max_length=MAX_INSTRUCTIONS_CHARS)] | None = None,
    ) -> SpeechResult:
        """Speaks a text aloud, says or reads it, as a voice clip (text to speech).

        It comes back as a URL that opens in a browser.

        Args:
            text: What to say.
            voice: Which there are depends on the model.
            model: Default: the configured one.
            response_format: Default mp3; pcm is bare samples of 24 kHz, 16 bit, mono. Realtime models
                (gpt-realtime-...) make wav (their default) and pcm only.
            speed: Default 1.
            instructions: How to say it, such as the mood; older models ignore it.
        """
        used = self._openai.choose_model(Capability.AUDIO, model)
        given = response_format or ("wav" if speaks_over_realtime(used) else "mp3")
        wanted = _FORMATS[given]
        media_id = context.operation.id("clip")
        if context.operation.is_repeat:
            origin = Origin.of_tool("synthesize_speech", used, text)
            record = await self._recover(media_id, wanted, origin, context)
            if record is not None:
                return {"media": await self._media.present(record), "model": used, "voice": voice}
        await self._media.check_reachable()
        await context.report_progress(0, 2, "Waiting for the model")
        request = SpeechRequest(
            text=text,
            voice=voice,
            response_format=given,
            operation_id=context.operation.id("provider"),
            model=model,
            speed=speed,
            instructions=instructions,
        )
        async with self._openai.audio.speak(request) as speech:
            head, chunks = await peek(speech.chunks, MAX_CLIP_BYTES, _too_large)
            await context.report_progress(1, 2, "Storing the clip as it comes")
            its_format = _check_format(head, wanted)
            origin = Origin.of_tool("synthesize_speech", speech.model, text, speech.cost_usd)
            with keep_retrying():
                record = await self._media.save(
                    context.principal.name, media_id, chunks, its_format, origin
                )
        await context.report_progress(2, 2, "Stored the clip")
        media = await self._media.present(record)
        return {"media": media, "model": speech.model, "voice": voice}

    @tool(title="Transcribe audio", idempotent_by_key=True, paid=True, icon="audio.png")
    async def transcribe_audio(
        self,
        context: CallContext,
        media_id: MediaId,
        language: Annotated[str, Field(min_length=2, max_length=20)] | None = None,
        prompt: Annotated[str, Field(max_length=MAX_INSTRUCTIONS_CHARS)] | None = None,
        model: str | None = None,
    ) -> TranscriptionResult:
        """Writes down what a stored voice clip or video says (speech to text).

        Args:
            media_id: Media id of the clip.
            language: Its language as ISO 639-1, such as en, where known.
            prompt: Names and words to expect.
            model: Default: the configured one.
        """
        await context.report_progress(0, 2, "Reading the clip")
        owner = context.principal.name
        kinds: tuple[MediaKind, ...] = ("audio", "video")
        [clip] = await read_inputs(self._media, owner, [("media_id", media_id)], kinds)
        await context.report_progress(1, 2, "Waiting for the model")
        request = TranscriptionRequest(
            clip=clip,
            operation_id=context.operation.id("provider"),
            language=language,
            prompt=prompt,
            model=model,
        )
        heard = await self._openai.audio.transcribe(request)
        await context.report_progress(2, 2, "Written down")
        return {"text": heard.text, "model": heard.model}

    async def _recover(
        self, media_id: str, wanted: MediaFormat, origin: Origin, context: CallContext
    ) -> MediaRecord | None:
        stored = await self._media.stored_format(media_id, formats.similar(wanted))
        if stored is None:
            return None
        return await self._media.save(context.principal.name, media_id, None, stored, origin)


def _too_large() -> ProviderUnavailable:
    return ProviderUnavailable(f"The provider's clip has more than {MAX_CLIP_BYTES} bytes.")


def _check_format(head: bytes, wanted: MediaFormat) -> MediaFormat:
    """Returns the format that the clip really has.

    Raises:
        ProviderError: It is no audio.
    """
    if not head:
        raise ProviderTruncated("The provider's answer holds no audio. Try again.")
    if wanted is formats.PCM:
        return formats.PCM
    found = formats.sniff(head)
    if found is None or found.kind != "audio":
        raise ProviderUnavailable("The provider's answer is not audio in any known format.")
    return found
