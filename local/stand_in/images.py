"""What the stand-in answers where OpenAI makes pictures: the prompt over coloured hills."""

import asyncio
import base64
import html
import io
import math
import re
import textwrap
import zlib
from dataclasses import dataclass
from time import time
from typing import Annotated, Any, Literal

from PIL import Image, ImageDraw, ImageFont
from pydantic import AfterValidator, BaseModel, Field
from starlette.responses import Response

from local.stand_in.exchange import Exchange, Refusal, Upload, document, missing

MIN_SIDE, MAX_SIDE = 16, 4096
TITLE = "stand-in"
"""Stands at the top of every picture, so that nobody takes it for a model's."""

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_AUTO_SIZE = "1024x1024"
_LINE_CHARS = 28
_MAX_LINES = 12
_PNG_COLOURS = 32
_HILLS, _STEPS = 3, 24
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


@dataclass(frozen=True)
class Picture:
    """What a picture shows: lines of text on a colour that differs from prompt to prompt."""

    size: tuple[int, int]
    lines: list[str]
    is_transparent: bool

    @property
    def colour(self) -> tuple[int, int, int, int]:
        """The dark background."""
        number = zlib.crc32("".join(self.lines).encode("utf-8", "replace"))
        red, green, blue = (30 + (number >> shift) % 90 for shift in (0, 8, 16))
        return red, green, blue, 0 if self.is_transparent else 255

    @property
    def ink(self) -> tuple[int, int, int]:
        """The colour of the text."""
        return (128, 128, 128) if self.is_transparent else (255, 255, 255)

    @property
    def font_size(self) -> int:
        """The height of the text in pixels."""
        return max(8, min(self.size[0] // 16, self.size[1] // (len(self.lines) + 2)))

    def encode(self, output_format: str, quality: int) -> bytes:
        """Returns the picture as a file."""
        if output_format == "svg":
            return self._svg().encode()
        image = Image.new("RGBA", self.size, self.colour)
        if not self.is_transparent:
            self._draw_hills(image)
        margin = self.font_size // 2
        ImageDraw.Draw(image).multiline_text(
            (margin, margin),
            "\n".join(self.lines),
            fill=self.ink,
            font=ImageFont.load_default(self.font_size),
        )
        if output_format == "jpeg":
            image = image.convert("RGB")
        elif output_format == "png":
            image = image.quantize(_PNG_COLOURS)
        buffer = io.BytesIO()
        image.save(buffer, output_format.upper(), quality=quality, method=0)
        return buffer.getvalue()

    def _draw_hills(self, image: Image.Image) -> None:
        draw = ImageDraw.Draw(image)
        width, height = self.size
        base = self.colour[:3]
        radius = min(self.size) // 12
        x, y = width * 3 // 4, height * 2 // 5
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(244, 226, 186))
        for layer in range(_HILLS):
            shade = tuple(side * (4 - layer) // 5 for side in base)
            top = height * (56 + 13 * layer) // 100
            wave = [
                (step * width // _STEPS, top + int(math.sin(step / 3 + layer * 2) * height / 18))
                for step in range(_STEPS + 1)
            ]
            draw.polygon([*wave, (width, height), (0, height)], fill=shade)

    def _svg(self) -> str:
        width, height = self.size
        red, green, blue, alpha = self.colour
        lines = "".join(
            f'<tspan x="{self.font_size}" dy="1.25em">{html.escape(line)}</tspan>'
            for line in self.lines
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}">'
            f'<rect width="100%" height="100%" fill="rgb({red},{green},{blue})" '
            f'fill-opacity="{alpha // 255}"/>'
            f'<text font-family="sans-serif" font-size="{self.font_size}" '
            f'fill="rgb({",".join(map(str, self.ink))})">{lines}</text></svg>'
        )


async def generate_images(exchange: Exchange) -> Response:
    """Answers `POST /v1/images/generations`."""
    return await _pictures(exchange, exchange.parse(ImageParameters), "", 0)


async def edit_images(exchange: Exchange) -> Response:
    """Answers `POST /v1/images/edits`."""
    parameters = exchange.parse(ImageParameters)
    inputs = exchange.files("image", "image[]")
    if not inputs:
        raise missing("image")
    for number, upload in enumerate(inputs, 1):
        await _check_image(upload, f"image {number}")
    note = f"edit of {len(inputs)} {'image' if len(inputs) == 1 else 'images'}"
    for mask in exchange.files("mask"):
        note += f", mask {await _check_image(mask, 'the mask')}"
    return await _pictures(exchange, parameters, note, len(inputs))


async def _check_image(upload: Upload, name: str) -> str:
    def load() -> str:
        with Image.open(io.BytesIO(upload.data)) as image:
            image.load()
            return f"{image.width}x{image.height}"

    try:
        return await asyncio.to_thread(load)
    except _UNREADABLE as error:
        message = f"Invalid image file or mode for {name}, please check your image file."
        raise Refusal(message, code="invalid_image_file", param=upload.field) from error


async def _pictures(
    exchange: Exchange, parameters: ImageParameters, note: str, input_images: int
) -> Response:
    if parameters.stream:
        raise Refusal("Invalid 'stream': the stand-in does not stream images.", param="stream")
    is_transparent = parameters.background == "transparent"
    if is_transparent and parameters.output_format == "jpeg":
        message = "Transparent background is not supported for image format 'jpeg'."
        raise Refusal(message, param="background")
    size = _AUTO_SIZE if parameters.size == "auto" else parameters.size
    data = []
    for number in range(1, parameters.n + 1):
        lines = [TITLE, *_wrap(parameters.prompt), f"picture {number} of {parameters.n}"]
        picture = Picture(parse_size(size), [*lines, note] if note else lines, is_transparent)
        data.append(await _datum(exchange, parameters, picture))
    answer = {
        "created": int(time()),
        "data": data,
        "background": "transparent" if is_transparent else "opaque",
        "output_format": parameters.output_format,
        "quality": "medium" if parameters.quality == "auto" else parameters.quality,
        "size": size,
        "usage": _usage(parameters, parse_size(size), input_images),
    }
    return document(answer, exchange.rule)


async def _datum(
    exchange: Exchange, parameters: ImageParameters, picture: Picture
) -> dict[str, str]:
    if exchange.rule.as_url is not None:
        return {"url": exchange.rule.as_url}
    content = await asyncio.to_thread(
        picture.encode, parameters.output_format, parameters.output_compression
    )
    return {"b64_json": base64.b64encode(content).decode()}


def _wrap(prompt: str) -> list[str]:
    # Without what no font and no XML can show.
    shown = "".join(c if c.isprintable() else " " for c in prompt)
    return textwrap.wrap(shown, _LINE_CHARS, max_lines=_MAX_LINES, placeholder=" \u2026")


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
