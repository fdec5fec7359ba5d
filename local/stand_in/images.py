"""What the stand-in answers where OpenAI makes pictures."""

import asyncio
import base64
import html
import io
import re
from time import time
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import AfterValidator, BaseModel, Field
from starlette.responses import Response

from local.stand_in.call import Call, Refusal, Upload, missing
from local.stand_in.drawing import Card
from local.stand_in.reception import document

MIN_SIDE, MAX_SIDE = 16, 4096
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_AUTO_SIZE = "1024x1024"
_PNG_COLOURS = 32
_FASTEST_WEBP = 0
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def parse_size(size: str) -> tuple[int, int]:
    """Returns width and height of a size such as ``1024x1024``.

    Raises:
        ValueError: It is none, or out of bounds.
    """
    match = _SIZE.fullmatch(size)
    if not match or not all(MIN_SIDE <= int(side) <= MAX_SIDE for side in match.groups()):
        raise ValueError(
            f"'{size}' is not WIDTHxHEIGHT with sides from {MIN_SIDE} to {MAX_SIDE} pixels"
        )
    return int(match[1]), int(match[2])


def _check_size(size: str) -> str:
    if size != "auto":
        parse_size(size)
    return size


class ImageParameters(BaseModel):
    """The parameters of GPT image models that the stand-in heeds."""

    model: str
    prompt: str = Field(min_length=1)
    n: int = Field(1, ge=1, le=10)
    size: Annotated[str, AfterValidator(_check_size)] = "auto"
    quality: str = "auto"
    background: Literal["auto", "opaque", "transparent"] = "auto"
    output_format: Literal["png", "webp", "jpeg", "gif", "svg"] = "png"
    output_compression: int = Field(75, ge=0, le=100)
    stream: bool = False


async def generate_images(call: Call) -> Response:
    """Answers `POST /v1/images/generations`."""
    return await _pictures(call, call.parse(ImageParameters), "", 0)


async def edit_images(call: Call) -> Response:
    """Answers `POST /v1/images/edits`."""
    parameters = call.parse(ImageParameters)
    inputs = call.uploads("image", "image[]")
    if not inputs:
        raise missing("image")
    for number, upload in enumerate(inputs, 1):
        await _opened_size(upload, f"image {number}")
    note = f"edit of {len(inputs)} {'image' if len(inputs) == 1 else 'images'}"
    for mask in call.uploads("mask"):
        note += f", mask {await _opened_size(mask, 'the mask')}"
    return await _pictures(call, parameters, note, len(inputs))


def encode(image: Image.Image, output_format: str, quality: int = 75) -> bytes:
    """Returns a picture as a file of a format that Pillow knows."""
    buffer = io.BytesIO()
    if output_format == "jpeg":
        image = image.convert("RGB")
    elif output_format == "png":
        image = image.quantize(_PNG_COLOURS)
    image.save(buffer, output_format.upper(), quality=quality, method=_FASTEST_WEBP)
    return buffer.getvalue()


async def _opened_size(upload: Upload, name: str) -> str:
    def opened() -> str:
        with Image.open(io.BytesIO(upload.data)) as image:
            image.load()
            return f"{image.width}x{image.height}"

    try:
        return await asyncio.to_thread(opened)
    except _UNREADABLE as error:
        message = f"Invalid image file or mode for {name}, please check your image file."
        raise Refusal(message, code="invalid_image_file", param=upload.field) from error


async def _pictures(
    call: Call, parameters: ImageParameters, note: str, input_images: int
) -> Response:
    if parameters.stream:
        raise Refusal("Invalid 'stream': the stand-in does not stream images.", param="stream")
    is_transparent = parameters.background == "transparent"
    if is_transparent and parameters.output_format == "jpeg":
        message = "Transparent background is not supported for image format 'jpeg'."
        raise Refusal(message, param="background")
    size = _AUTO_SIZE if parameters.size == "auto" else parameters.size
    data = [
        await _picture(
            call,
            parameters,
            Card(
                size=parse_size(size),
                text=parameters.prompt,
                note=", ".join(
                    part for part in (f"picture {number} of {parameters.n}", note) if part
                ),
                seed=f"{parameters.prompt} {number}",
                is_transparent=is_transparent,
            ),
        )
        for number in range(1, parameters.n + 1)
    ]
    answer = {
        "created": int(time()),
        "data": data,
        "background": "transparent" if is_transparent else "opaque",
        "output_format": parameters.output_format,
        "quality": "medium" if parameters.quality == "auto" else parameters.quality,
        "size": size,
        "usage": _usage(parameters, parse_size(size), input_images),
    }
    return document(answer, call.fault)


async def _picture(call: Call, parameters: ImageParameters, card: Card) -> dict[str, str]:
    if call.fault.as_url is not None:
        return {"url": call.fault.as_url}
    content = await asyncio.to_thread(_content, card, parameters)
    return {"b64_json": base64.b64encode(content).decode()}


def _content(card: Card, parameters: ImageParameters) -> bytes:
    if parameters.output_format == "svg":
        return _svg(card).encode()
    return encode(card.draw(), parameters.output_format, parameters.output_compression)


def _svg(card: Card) -> str:
    width, height = card.size
    layout = card.layout()
    lines = "".join(
        f'<tspan x="{layout.margin}" dy="{layout.line_height}">{html.escape(line)}</tspan>'
        for line in layout.lines
    )
    red, green, blue, alpha = card.colour
    ink = ",".join(map(str, card.ink[:3]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">'
        f'<rect width="100%" height="100%" fill="rgb({red},{green},{blue})" '
        f'fill-opacity="{alpha // 255}"/>'
        f'<text y="{layout.margin}" font-family="sans-serif" font-size="{layout.font_size}" '
        f'fill="rgb({ink})">{lines}</text></svg>'
    )


def _usage(parameters: ImageParameters, size: tuple[int, int], input_images: int) -> dict[str, Any]:
    # Words count as tokens, and so does every square of 32 pixels.
    words, pictures = len(parameters.prompt.split()), 256 * input_images
    made = parameters.n * -(-size[0] // 32) * -(-size[1] // 32)
    return {
        "input_tokens": words + pictures,
        "input_tokens_details": {"text_tokens": words, "image_tokens": pictures},
        "output_tokens": made,
        "total_tokens": words + pictures + made,
    }
