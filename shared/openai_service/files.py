"""Files that go to a provider as parts of a form, and bytes that come from one."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from shared.deadline import Deadline
from shared.openai_service.calls import ProviderCall, observed


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


async def under_deadline(
    pieces: AsyncIterator[bytes], call: ProviderCall, deadline: Deadline
) -> AsyncIterator[bytes]:
    """Yields the bytes of an answer as they come.

    Args:
        pieces: The bytes as the SDK reads them.
        call: What they answer.
        deadline: When they have to be complete.

    Raises:
        DeadlineExceeded: They are not complete in time.
        ProviderTruncated: The connection broke.
    """
    from shared.openai_service.sdk import provider_errors

    with observed(call, deadline):
        while True:
            with provider_errors(call.connection):
                piece = await deadline.wait_for(anext(pieces, None))
            if piece is None:
                return
            yield piece
