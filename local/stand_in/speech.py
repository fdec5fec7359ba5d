"""What the stand-in answers where OpenAI speaks: beeps."""

import asyncio
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from local.stand_in.audio import SAMPLE_RATE, beeps, to_flac, to_wav
from local.stand_in.call import Call, Refusal
from local.stand_in.reception import file

MEDIA_TYPES = {
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "pcm": "audio/pcm",
    "wav": "audio/wav",
}
"""The formats it can write."""


class SpeechParameters(BaseModel):
    """The parameters of speech models that the stand-in heeds."""

    model: str
    input: str = Field(min_length=1, max_length=4096)
    voice: str | dict[str, Any]
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float = Field(1, ge=0.25, le=4)
    stream_format: Literal["audio", "sse"] = "audio"


async def speak(call: Call) -> Response:
    """Answers `POST /v1/audio/speech`."""
    parameters = call.parse(SpeechParameters)
    if parameters.stream_format != "audio":
        message = "Invalid 'stream_format': the stand-in only streams the audio itself."
        raise Refusal(message, param="stream_format")
    content = await asyncio.to_thread(_encode, parameters)
    return file(content, MEDIA_TYPES[parameters.response_format], call.fault)


def _encode(parameters: SpeechParameters) -> bytes:
    samples = beeps(parameters.input, parameters.speed)
    match parameters.response_format:
        case "pcm":
            return samples
        case "wav":
            return to_wav(samples, parameters.input)
        case "flac":
            return to_flac(samples)
        case "mp3":
            return _to_mp3(samples)
        case other:
            raise _cannot(other, "flac, mp3, pcm and wav")


def _to_mp3(samples: bytes) -> bytes:
    try:
        import lameenc
    except ImportError as error:
        raise _cannot("mp3 without the package lameenc", "flac, pcm and wav") from error
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_channels(1)
    encoder.set_in_sample_rate(SAMPLE_RATE)
    encoder.set_bit_rate(48)
    return bytes(encoder.encode(samples) + encoder.flush())


def _cannot(wanted: str, possible: str) -> Refusal:
    message = f"The stand-in cannot encode {wanted}. It can encode {possible}."
    return Refusal(message, code="unsupported_value", param="response_format")
