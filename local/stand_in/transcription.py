"""What the stand-in answers where OpenAI listens: what its own files say that they say."""

from typing import Literal

from pydantic import BaseModel
from starlette.responses import Response

from local.stand_in import riff
from local.stand_in.call import Call, Refusal, Upload, missing
from local.stand_in.completion import MARK
from local.stand_in.reception import document, file


class TranscriptionParameters(BaseModel):
    """The parameters of transcription models that the stand-in heeds."""

    model: str
    response_format: Literal["json", "text"] = "json"
    stream: bool = False


async def transcribe(call: Call) -> Response:
    """Answers `POST /v1/audio/transcriptions`."""
    parameters = call.parse(TranscriptionParameters)
    if parameters.stream:
        raise Refusal("Invalid 'stream': the stand-in does not stream text.", param="stream")
    uploads = call.uploads("file")
    if not uploads:
        raise missing("file")
    text = call.fault.text or f"{MARK} {_heard(uploads[0])}"
    if parameters.response_format == "text":
        return file(f"{text}\n".encode(), "text/plain", call.fault)
    return document({"text": text}, call.fault)


def _heard(upload: Upload) -> str:
    if upload.data.startswith(b"RIFF") and (comment := riff.info(upload.data, b"ICMT")):
        return comment.rstrip(b"\0").decode("utf-8", "replace")
    return (
        "I am not a model, only a stand-in for one, and cannot hear. "
        f"I got {len(upload.data)} bytes of {upload.content_type or 'an unknown type'}."
    )
