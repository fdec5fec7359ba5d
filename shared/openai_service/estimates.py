"""Estimates of what calls use at most, made before the calls.

A token is taken as four bytes, as everywhere in the app. The estimate counts against limits until the
call is settled, and stays where the provider never says what was used.
"""

from collections.abc import Mapping
from contextlib import suppress
from math import ceil
from typing import Any

from pydantic_core import to_json

from shared.openai_service.answer_fields import MAX_COUNT, reported_count, reported_number
from shared.openai_service.metering import NOTHING, Consumption, Drawing

BYTES_PER_TOKEN = 4
MESSAGE_TOKENS = 4
"""Around each message, for its role."""

PART_TOKENS = 1500
"""Of a picture or file in a message, whose tokens do not depend on its bytes."""

DEFAULT_OUTPUT_TOKENS = 4096
"""Output of a chat completion whose caller sets no limit."""

IMAGE_TOKENS: Mapping[str, int] = {
    "low": 272,
    "medium": 1056,
    "high": 4160,
    "xhigh": 8320,
    "max": 8320,
}
"""Output tokens of an image of 1024x1024 by quality; larger ones have more in proportion.

What ``xhigh`` takes is not published, and counts as the quality above it.

Source: https://platform.openai.com/docs/guides/image-generation#cost-and-latency
"""

SQUARE_PIXELS = 1024 * 1024
SPEECH_BYTES_PER_SECOND = 15
"""Of text, spoken: 150 English words in a minute."""

SPEECH_TOKENS_PER_SECOND = 1250 / 60
"""Output tokens of speech: 0.015 dollars a minute at 12 dollars per million."""

CLIP_BYTES_PER_SECOND = 4000
"""Of a compressed recording with 32 kbit/s; most have more, and last shorter than estimated."""

WAV_BYTES_PER_SECOND = 32_000
LISTENING_TOKENS_PER_SECOND = 1000 / 60
"""Input tokens of a recording: 0.006 dollars a minute at 6 dollars per million."""

SPOKEN_TOKENS_PER_SECOND = 5
DEFAULT_VIDEO_SECONDS = 8


def text_tokens(value: Any) -> int:
    """Returns about how many tokens a text, or JSON, has."""
    data = value.encode() if isinstance(value, str) else to_json(value, fallback=str)
    return ceil(len(data) / BYTES_PER_TOKEN)


def of_chat(parameters: Mapping[str, Any]) -> Consumption:
    """Estimates a chat completion.

    Args:
        parameters: As the SDK takes them.
    """
    # Further parameters go into the body over the others.
    parameters = {**parameters, **(parameters.get("extra_body") or {})}
    messages = parameters.get("messages")
    tokens = sum(map(_message_tokens, messages if isinstance(messages, list) else ()))
    for name in ("tools", "response_format"):
        if parameters.get(name):
            tokens += text_tokens(parameters[name])
    # Providers take one of them or the other.
    limits = [_count(parameters, name) for name in ("max_completion_tokens", "max_tokens")]
    allowed = max(limits) or DEFAULT_OUTPUT_TOKENS
    output = allowed * (_count(parameters, "n") or 1)
    return Consumption(input_tokens=tokens, output_tokens=output)


def _message_tokens(message: object) -> int:
    if not isinstance(message, Mapping):
        return MESSAGE_TOKENS
    content = message.get("content")
    if isinstance(content, str):
        tokens = text_tokens(content)
    else:
        given = content if isinstance(content, list) else ()
        parts = [part for part in given if isinstance(part, Mapping)]
        tokens = sum(
            text_tokens(part["text"]) if isinstance(part.get("text"), str) else PART_TOKENS
            for part in parts
        )
    if calls := message.get("tool_calls"):
        tokens += text_tokens(calls)
    return MESSAGE_TOKENS + tokens


def of_images(
    prompt: str, size: str | None, quality: str | None, images: int, inputs: int
) -> Consumption:
    """Estimates images.

    Args:
        prompt: What to show.
        size: ``WIDTHxHEIGHT``; anything else, such as ``auto``, counts as 1024x1536.
        quality: From ``low`` to ``max``; anything else counts as ``high``, which ``auto`` may choose.
        images: The number of images.
        inputs: The number of images to edit, with the mask.
    """
    width, _, height = (size or "").partition("x")
    is_size = width.isdecimal() and height.isdecimal()
    pixels = int(width) * int(height) if is_size else SQUARE_PIXELS * 3 // 2
    each = ceil(IMAGE_TOKENS.get(quality or "", IMAGE_TOKENS["high"]) * pixels / SQUARE_PIXELS)
    seen = inputs * PART_TOKENS
    return Consumption(
        input_tokens=text_tokens(prompt) + seen,
        input_image_tokens=seen,
        output_tokens=each * images,
        output_image_tokens=each * images,
        images=images,
    )


def of_speech(text: str) -> Consumption:
    """Estimates speech: providers bill characters, or tokens of text and sound, and report neither."""
    seconds = len(text.encode()) / SPEECH_BYTES_PER_SECOND
    return Consumption(
        characters=len(text),
        input_tokens=text_tokens(text),
        output_tokens=ceil(seconds * SPEECH_TOKENS_PER_SECOND),
    )


def of_recording(size: int, content_type: str) -> Consumption:
    """Estimates the transcription of a recording of so many bytes."""
    is_wav = "wav" in content_type
    seconds = size / (WAV_BYTES_PER_SECOND if is_wav else CLIP_BYTES_PER_SECOND)
    heard = ceil(seconds * LISTENING_TOKENS_PER_SECOND)
    return Consumption(
        seconds=round(seconds, 1),
        input_tokens=heard,
        input_audio_tokens=heard,
        output_tokens=ceil(seconds * SPOKEN_TOKENS_PER_SECOND),
    )


def of_video(seconds: int | None) -> Consumption:
    """Estimates a video."""
    return Consumption(seconds=float(seconds or DEFAULT_VIDEO_SECONDS))


def of_forwarded(path: str, fields: Mapping[str, Any], inputs: int = 0) -> Consumption | None:
    """Estimates a request of OpenAI's API; None where it costs nothing.

    Args:
        path: Path below the base URL, such as ``chat/completions``.
        fields: Of the body. The provider checks them, so that they may be anything.
        inputs: The number of images to edit, with the mask.
    """
    match path:
        case "chat/completions":
            return of_chat(fields)
        case "responses":
            asked = [_tokens_of(fields, name) for name in ("input", "instructions", "tools")]
            allowed = _count(fields, "max_output_tokens") or DEFAULT_OUTPUT_TOKENS
            return Consumption(input_tokens=sum(asked), output_tokens=allowed)
        case "embeddings":
            return Consumption(input_tokens=_tokens_of(fields, "input"), output_tokens=0)
        case "images/generations" | "images/edits":
            prompt, size, quality = (
                str(fields.get(name) or "") for name in ("prompt", "size", "quality")
            )
            return of_images(prompt, size, quality, _count(fields, "n") or 1, inputs)
        case "audio/speech":
            return of_speech(str(fields.get("input") or ""))
        case _:
            return None


def of_drawing(path: str, fields: Mapping[str, Any]) -> Drawing | None:
    """Estimates the picture that a response's tool ``image_generation`` makes; None without that tool.

    Args:
        path: Path below the base URL.
        fields: Of the body; they may be anything.
    """
    tools = fields.get("tools") if path == "responses" else None
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, Mapping) and tool.get("type") == "image_generation":
            model, size, quality = (tool.get(name) for name in ("model", "size", "quality"))
            drawn = of_images("", str(size or ""), str(quality or ""), images=1, inputs=0)
            return Drawing(model if isinstance(model, str) else None, drawn)
    return None


def _tokens_of(fields: Mapping[str, Any], name: str) -> int:
    return text_tokens(fields[name]) if fields.get(name) else 0


def _count(fields: Mapping[str, Any], *names: str) -> int:
    """Returns the first of some fields that is a number of something, 0 where none is."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, int | float | str):
            # Some providers take 3.0 and "3" for 3.
            with suppress(ValueError):
                number = min(value, MAX_COUNT) if isinstance(value, int) else float(value)
                if number > 0:
                    return ceil(min(number, MAX_COUNT))
    return 0


def reported_usage(usage: object, images: int | None = None) -> Consumption | None:
    """Returns what an answer of OpenAI's API says that it used; None where it does not say.

    Args:
        usage: Its ``usage``, of chat completions, responses, embeddings, images or transcriptions.
        images: The number of images in it.
    """
    if not isinstance(usage, Mapping):
        return None
    given = usage.get("input_tokens_details") or usage.get("input_token_details")
    made = usage.get("output_tokens_details") or usage.get("completion_tokens_details")
    inside, outside = _mapping(given or usage.get("prompt_tokens_details")), _mapping(made)
    output = _number(usage, "completion_tokens", "output_tokens")
    if output is None and reported_count(usage.get("prompt_tokens")) is not None:
        output = 0
    used = Consumption(
        input_tokens=_number(usage, "prompt_tokens", "input_tokens"),
        cached_tokens=_number(inside, "cached_tokens"),
        output_tokens=output,
        reasoning_tokens=_number(outside, "reasoning_tokens"),
        input_audio_tokens=_number(inside, "audio_tokens"),
        input_image_tokens=_number(inside, "image_tokens"),
        output_image_tokens=output if images else _number(outside, "image_tokens"),
        images=images,
        seconds=reported_number(usage.get("seconds")),
    )
    # A report without any number says nothing, and makes no call free.
    return None if used == NOTHING else used


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(fields: Mapping[str, Any], *names: str) -> int | None:
    found = (reported_count(fields.get(name)) for name in names)
    return next((number for number in found if number is not None), None)
