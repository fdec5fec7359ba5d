"""Forms that are forwarded unchanged: the positions of their fields."""

import hashlib
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


class Form:
    """A form as it came, of which some fields are read.

    Args:
        body: The form.
        content_type: Its media type, with the boundary.

    Raises:
        InvalidRequest: It is no form.
    """

    def __init__(self, body: bytes, content_type: str) -> None:
        self.body = body
        self.content_type = content_type
        self._boundary = _boundary(content_type)
        self._parts = [(_name(part), part) for part in _parse(body, self._boundary)]

    @property
    def names(self) -> set[str]:
        """The names of its fields."""
        return {name for name, _ in self._parts}

    def count(self, name: str) -> int:
        """Returns how many fields have a name, such as that of several files."""
        return sum(its_name == name for its_name, _ in self._parts)

    def text(self, name: str) -> str | None:
        """Returns the value of a field, None where it has none.

        Raises:
            InvalidRequest: The form has the field twice.
        """
        part = self._find(name)
        # An empty value has no data.
        if part is None or part.start is None:
            return None
        return self.body[part.start : part.end].decode("utf-8", "replace")

    def replaced(self, name: str, value: str) -> bytes:
        """Returns the form with another value of a field that it has; the rest stays as it is."""
        part = self._find(name)
        if part is None or part.start is None:
            return self.body
        return self.body[: part.start] + value.encode() + self.body[part.end :]

    def without(self, name: str) -> "Form":
        """Returns the form without a field.

        Raises:
            InvalidRequest: What is left is no form.
        """
        part = self._find(name)
        if part is None or part.start is None:
            return self
        delimiter = b"--" + self._boundary
        begin = self.body.rfind(delimiter, 0, part.start)
        end = self.body.find(delimiter, part.end)
        # Read again: what a delimiter in a header led to is refused.
        return Form(self.body[:begin] + self.body[end:], self.content_type)

    def digest(self) -> bytes:
        """Returns what tells the form apart from another one, whatever its boundary is."""
        total = hashlib.sha256()
        whole = memoryview(self.body)
        for _, part in self._parts:
            data = whole[part.start : part.end] if part.start is not None else b""
            for piece in (*(text for header in part.headers for text in header), data):
                total.update(len(piece).to_bytes(8, "big"))
                total.update(piece)
        return total.digest()

    def _find(self, name: str) -> _Part | None:
        found = [part for its_name, part in self._parts if its_name == name]
        if len(found) > 1:
            # The provider may read another one of them than we do.
            raise InvalidRequest.for_field(name, "The form has this field twice. Send it once")
        return found[0] if found else None


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
