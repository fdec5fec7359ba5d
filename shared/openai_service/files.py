"""Files that go to a provider as parts of a form."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file in memory.

    Attributes:
        name: A name whose extension tells the format: some providers go by it.
        content_type: Its media type.
        data: Its bytes.
    """

    name: str
    content_type: str
    data: bytes

    def as_part(self) -> tuple[str, bytes, str]:
        """Returns the file as the SDK takes it."""
        return (self.name, self.data, self.content_type)


def idempotency_headers(operation_id: str) -> dict[str, str]:
    """Returns headers by which a provider that knows them does one thing once.

    Where it does not, they do no harm.

    Args:
        operation_id: The same for every attempt at the same thing.
    """
    return {"Idempotency-Key": operation_id}
