"""Messages and their parts, as callers write them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

MAX_TEXT_CHARS = 1_000_000
MAX_PARTS = 50
MEDIA_SCHEME = "media://"


def _refuse_blank(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    text = handler(value)
    if not text.strip():
        raise PydanticCustomError("blank", "Must not be blank")
    return text


MessageText = Annotated[
    str, Field(min_length=1, max_length=MAX_TEXT_CHARS), WrapValidator(_refuse_blank)
]


class _PartModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class TextPart(_PartModel):
    """A part of a message that is text."""

    type: Literal["text"]
    text: MessageText


class _MediaPart(_PartModel):
    media_id: str | None = Field(None, description="Id of a stored medium of the caller's.")
    url: str | None = Field(
        None,
        description="URL that the app fetches: https, or data with base64. Give this or media_id.",
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.media_id is None) == (self.url is None):
            raise PydanticCustomError("source", "Give media_id or url, and not both")
        return self

    @property
    def source(self) -> Literal["media_id", "url"]:
        """The field that names the file."""
        return "url" if self.media_id is None else "media_id"

    @property
    def reference(self) -> str | None:
        """The id of the medium; None where a URL has to be fetched."""
        if self.url is not None and self.url.startswith(MEDIA_SCHEME):
            return self.url.removeprefix(MEDIA_SCHEME)
        return self.media_id


class ImagePart(_MediaPart):
    """A part of a message that is a picture."""

    type: Literal["image"]


class FilePart(_MediaPart):
    """A part of a message that is a PDF, a text, or a picture."""

    type: Literal["file"]


_MODELS: Mapping[Any, type[TextPart | ImagePart | FilePart]] = {
    "text": TextPart,
    "image": ImagePart,
    "file": FilePart,
}


def read_part(value: Any) -> TextPart | ImagePart | FilePart:
    """Returns a part by its type, so that an error names a field of that type only.

    Raises:
        ValidationError: A field of it is wrong.
        PydanticCustomError: It has none of the types.
    """
    if isinstance(value, _PartModel):
        return value  # type: ignore[return-value]
    kind = value.get("type") if isinstance(value, Mapping) else None
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise PydanticCustomError("part", "Give an object with the type 'text', 'image' or 'file'")
    return model.model_validate(value)


def _read_part(value: Any, handler: object) -> TextPart | ImagePart | FilePart:
    return read_part(value)


Part = Annotated[TextPart | ImagePart | FilePart, WrapValidator(_read_part)]
"""A part of a message."""

_Parts = Annotated[list[Part], Field(min_length=1, max_length=MAX_PARTS)]

_TEXT: TypeAdapter[str] = TypeAdapter(MessageText, config=ConfigDict(strict=True))
_PARTS: TypeAdapter[list[Part]] = TypeAdapter(_Parts)


def _read_content(value: Any, handler: object) -> Any:
    if isinstance(value, list):
        return _PARTS.validate_python(value)
    if isinstance(value, str):
        return _TEXT.validate_python(value)
    raise PydanticCustomError("message", "Give a text, or a list of parts")


MessageContent = Annotated[
    MessageText | _Parts,
    WrapValidator(_read_content),
    Field(
        examples=[
            "What time is it?",
            [
                {"type": "text", "text": "What is in this picture?"},
                {"type": "image", "url": "https://example.com/fox.png"},
            ],
        ]
    ),
]
"""A message: a text, or a list of parts."""
