"""Pictures that say what they are: a mark, a text that is wrapped to fit, and a note."""

import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from PIL import Image, ImageDraw, ImageFont

TITLE = "stand-in"
"""Stands at the top of every picture, so that nobody takes it for a model's."""

Colour = tuple[int, int, int, int]

_MAX_CHARACTERS = 500
_SMALLEST_FONT = 8
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


@dataclass(frozen=True)
class Card:
    """What a picture shows.

    Attributes:
        size: Width and height in pixels.
        text: The prompt.
        note: A line at the bottom.
        seed: Pictures of different seeds have different colours.
        is_transparent: Whether it has no background.
    """

    size: tuple[int, int]
    text: str
    note: str
    seed: str
    is_transparent: bool = False

    @property
    def colour(self) -> Colour:
        """The dark background, by the seed."""
        number = zlib.crc32(self.seed.encode("utf-8", "replace"))
        red, green, blue = (30 + (number >> shift) % 90 for shift in (0, 8, 16))
        return red, green, blue, 0 if self.is_transparent else 255

    @property
    def ink(self) -> Colour:
        """The colour of what is written."""
        return (128, 128, 128, 255) if self.is_transparent else (255, 255, 255, 255)

    def draw(self) -> Image.Image:
        """Returns the picture."""
        image = Image.new("RGBA", self.size, self.colour)
        pen = ImageDraw.Draw(image)
        layout = self.layout()
        for number, line in enumerate(layout.lines):
            position = (layout.margin, layout.margin + number * layout.line_height)
            pen.text(position, line, fill=self.ink, font=font(layout.font_size))
        return image

    def layout(self) -> "Layout":
        """Returns the lines and their size, the largest at which they fit; a long text is cut."""
        width, height = self.size
        margin = min(width, height) // 16
        size = max(_SMALLEST_FONT, min(width // 10, height // 8))
        while True:
            room = max(1, (height - 2 * margin) // _line_height(size))
            lines = wrap(self.text, width - 2 * margin, size)
            if len(lines) + 2 <= room or size <= _SMALLEST_FONT:
                break
            size = max(_SMALLEST_FONT, size * 4 // 5)
        if len(lines) + 2 > room:
            lines = [*lines[: max(0, room - 3)], _ELLIPSIS]
        return Layout([TITLE, *lines, *([self.note] if self.note else [])][:room], size, margin)


@dataclass(frozen=True)
class Layout:
    """Lines of text and where they go."""

    lines: list[str]
    font_size: int
    margin: int

    @property
    def line_height(self) -> int:
        """Pixels from one line to the next."""
        return _line_height(self.font_size)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns the font that Pillow brings along."""
    return ImageFont.load_default(size)


def printable(text: str) -> str:
    """Returns the beginning of a text, in one line and without what no font and no XML can show."""
    shown = "".join(c if c.isprintable() or c.isspace() else "" for c in text[:_MAX_CHARACTERS])
    return " ".join(shown.split()) + (_ELLIPSIS if len(text) > _MAX_CHARACTERS else "")


def wrap(text: str, width: int, font_size: int) -> list[str]:
    """Returns a text in lines of at most so many pixels; words that are longer are broken."""
    measure = font(font_size).getlength
    lines: list[str] = []
    line = ""
    for word in printable(text).split():
        longer = f"{line} {word}".strip()
        if measure(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        while measure(word) > width and len(word) > 1:
            kept = _fitting(word[: max(1, width)], width, measure)
            lines.append(word[:kept])
            word = word[kept:]
        line = word
    return [*lines, line] if line else lines


def _fitting(word: str, width: int, measure: Callable[[str], float]) -> int:
    ends = range(1, len(word) + 1)
    return max(1, bisect_right(ends, width, key=lambda end: ceil(measure(word[:end]))))


def _line_height(font_size: int) -> int:
    return font_size * 5 // 4
