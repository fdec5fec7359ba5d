"""What the stand-in answers where OpenAI speaks and listens: a recorded beep, an honest sentence."""

import io
import wave
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from local.stand_in.chat import MARK
from local.stand_in.exchange import Exchange, Refusal, document, file, missing
from local.stand_in.samples import sample

MEDIA_TYPES = {
    "aac": "audio/aac",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "pcm": "audio/pcm",
    "wav": "audio/wav",
}


class SpeechParameters(BaseModel):
    """The parameters of speech models that the stand-in checks."""

    model: str
    input: str = Field(min_length=1, max_length=4096)
    voice: str | dict[str, Any]
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float = Field(1, ge=0.25, le=4)
    stream_format: Literal["audio", "sse"] = "audio"


class TranscriptionParameters(BaseModel):
    """The parameters of transcription models that the stand-in heeds."""

    model: str
    response_format: Literal["json", "text"] = "json"
    stream: bool = False


async def speak(exchange: Exchange) -> Response:
    """Answers `POST /v1/audio/speech` with the same beeps for every text."""
    parameters = exchange.parse(SpeechParameters)
    if parameters.stream_format != "audio":
        message = "Invalid 'stream_format': the stand-in only streams the audio itself."
        raise Refusal(message, param="stream_format")
    wanted = parameters.response_format
    return file(_encode(wanted, exchange.rule.bytes), MEDIA_TYPES[wanted], exchange.rule)


async def transcribe(exchange: Exchange) -> Response:
    """Answers `POST /v1/audio/transcriptions` with what it got."""
    parameters = exchange.parse(TranscriptionParameters)
    if parameters.stream:
        raise Refusal("Invalid 'stream': the stand-in does not stream text.", param="stream")
    uploads = exchange.files("file")
    if not uploads:
        raise missing("file")
    [upload, *_] = uploads
    text = exchange.rule.text or (
        f"{MARK} I am not a model, only a stand-in for one, and cannot hear. "
        f"I got {len(upload.data)} bytes of {upload.content_type or 'an unknown type'}."
    )
    if parameters.response_format == "text":
        return file(f"{text}\n".encode(), "text/plain", exchange.rule)
    return document({"text": text}, exchange.rule)


def _encode(wanted: str, length: int | None) -> bytes:
    if wanted not in ("pcm", "wav"):
        return sample(f"speech.{wanted}")
    with wave.open(io.BytesIO(sample("speech.wav"))) as recording:
        layout = recording.getparams()
        samples: bytes = recording.readframes(layout.nframes)
    if length is not None:
        samples = (samples * (length // len(samples) + 1))[:length]
    if wanted == "pcm":
        return samples
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as clip:
        clip.setparams(layout)
        clip.writeframes(samples)
    return buffer.getvalue()
