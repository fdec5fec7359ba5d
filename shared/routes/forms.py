"""Forms that go on as they are: where one of their fields stands."""

import re
from dataclasses import dataclass, field
from email.message import Message

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from shared.errors import InvalidRequest

MAX_PARTS = 100
"""Maximum parts of a form: sixteen pictures, a mask, and the fields."""

MAX_HEADER_BYTES = 4096
"""Maximum bytes of the headers of one part."""


_DISPOSITION = re.compile(
    rb'form-data; *name="([^"\\\r\n]*)"(?:; *filename="[^"\r\n]*")?(?:; *filename\*=[^;"\s]+)?',
    re.IGNORECASE,
)
"""RFC 7578, section 4.2, as HTTP clients write it: one spelling, so that all parsers agree."""

_ONE_BOUNDARY = re.compile(r"[^;]+;[^;]*boundary=[^;]*(?:;(?![^;]*boundary=)[^;]*)*", re.IGNORECASE)


@dataclass(slots=True)
class _Part:
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    header_bytes: int = 0
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


def field_names(body: bytes, content_type: str) -> set[str]:
    """Returns the names of a form's fields.

    Raises:
        InvalidRequest: It is no form.
    """
    return {_name(part) for part in _parse(body, _boundary(content_type))}


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    is_form = message.get_content_type() == "multipart/form-data"
    if not is_form or not boundary or not _ONE_BOUNDARY.fullmatch(content_type):
        raise InvalidRequest("Send the request as multipart/form-data, with its boundary.")
    return boundary.encode("latin-1", "replace")


def _parse(body: bytes, boundary: bytes) -> list[_Part]:
    parts: list[_Part] = []
    is_complete = False

    def begin() -> None:
        if len(parts) >= MAX_PARTS:
            raise InvalidRequest(f"The form has more than {MAX_PARTS} parts. Send fewer.")
        parts.append(_Part())

    def add_name(data: bytes, start: int, end: int) -> None:
        count(end - start)
        parts[-1].headers.append((data[start:end], b""))

    def add_value(data: bytes, start: int, end: int) -> None:
        count(end - start)
        name, value = parts[-1].headers[-1]
        parts[-1].headers[-1] = (name, value + data[start:end])

    def count(size: int) -> None:
        parts[-1].header_bytes += size
        if parts[-1].header_bytes > MAX_HEADER_BYTES:
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
            "on_header_field": add_name,
            "on_header_value": add_value,
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


def _name(part: _Part) -> str:
    """Returns the name of a part, which every parser has to read in the same way.

    Raises:
        InvalidRequest: One could read another name, so that the provider got another field than we saw.
    """
    found = [
        value.strip()
        for name, value in part.headers
        if name.strip().lower() == b"content-disposition"
    ]
    matched = _DISPOSITION.fullmatch(found[0]) if len(found) == 1 else None
    if matched is None:
        raise InvalidRequest(
            "Give each part of the form one header 'Content-Disposition: form-data; name=\"NAME\"', "
            "with a filename where it is a file."
        )
    return matched[1].decode("utf-8", "replace")
