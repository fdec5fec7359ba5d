"""Forms that go on as they are: where one of their fields stands."""

from dataclasses import dataclass, field
from email.message import Message

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from shared.errors import InvalidRequest

MAX_PARTS = 100
"""Maximum parts of a form: sixteen pictures, a mask, and the fields."""

MAX_HEADER_BYTES = 4096
"""Maximum bytes of the headers of one part."""


@dataclass(slots=True)
class _Part:
    header: bytearray = field(default_factory=bytearray)
    start: int | None = None
    end: int = 0


def find_field(body: bytes, content_type: str, name: str) -> tuple[int, int] | None:
    """Returns where the value of a form's field begins and ends, None where the form has none.

    Args:
        body: The form.
        content_type: Its media type, with the boundary.
        name: The field.

    Raises:
        InvalidRequest: It is no form, or has the field twice.
    """
    found = [part for part in _parse(body, _boundary(content_type)) if _name(part) == name]
    if len(found) > 1:
        # The provider may read another one of them than we do.
        raise InvalidRequest.for_field(name, "The form has this field twice. Send it once")
    # An empty value has no data.
    if not found or found[0].start is None:
        return None
    return found[0].start, found[0].end


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data" or not boundary:
        raise InvalidRequest("Send the request as multipart/form-data, with its boundary.")
    return boundary.encode("latin-1", "replace")


def _parse(body: bytes, boundary: bytes) -> list[_Part]:
    parts: list[_Part] = []
    is_complete = False

    def begin() -> None:
        if len(parts) >= MAX_PARTS:
            raise InvalidRequest(f"The form has more than {MAX_PARTS} parts. Send fewer.")
        parts.append(_Part())

    def add_header(data: bytes, start: int, end: int) -> None:
        parts[-1].header += data[start:end] + b"\n"
        if len(parts[-1].header) > MAX_HEADER_BYTES:
            raise InvalidRequest(
                f"A part of the form has more than {MAX_HEADER_BYTES} bytes of headers. Send fewer."
            )

    def add_data(_: bytes, start: int, end: int) -> None:
        part = parts[-1]
        part.start = start if part.start is None else part.start
        part.end = end

    def finish() -> None:
        nonlocal is_complete
        is_complete = True

    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": begin,
            "on_header_value": add_header,
            "on_part_data": add_data,
            "on_end": finish,
        },
    )
    try:
        parser.write(body)
    except FormParserError as error:
        raise InvalidRequest(f"The form is malformed: {error}") from error
    if not is_complete:
        raise InvalidRequest("The form is malformed: its last boundary is missing.")
    return parts


def _name(part: _Part) -> str | None:
    message = Message()
    # Of the headers only this one has a name.
    for line in part.header.split(b"\n"):
        if line.lower().startswith(b"form-data"):
            message["content-disposition"] = line.decode("latin-1")
            return message.get_param("name", header="content-disposition")  # type: ignore[return-value]
    return None
