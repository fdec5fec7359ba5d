"""Calls under `/v1` whose media are stored: the base of those for clips and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from shared.context import USD_PLACES, CallContext
from shared.errors import NotConfigured
from shared.outbound import Downloads
from shared.routes.v1.bodies import Outgoing
from shared.routes.v1.forwarding import Forwarding, OpenAnswer
from shared.routes.v1.kept_answer import MEDIA_HEADER, KeptAnswer
from shared.routes.v1.relay import Relay
from shared.storage import MediaStore, Origin


@dataclass(frozen=True, slots=True)
class Made:
    """An answer that is complete.

    Attributes:
        kept: As an idempotency key keeps it; None where it is not kept.
        body: Its bytes; None where they are what is kept, or have been relayed.
        headers: Its headers.
    """

    kept: KeptAnswer | None
    body: bytes | None = None
    headers: Mapping[str, str] | None = None


@dataclass(slots=True, kw_only=True)
class MediaCall:
    """One call: its answer on the way to the caller, and its media on theirs to the storage.

    Attributes:
        forwarding: Sends the request to its provider.
        media: Stores pictures and clips.
        downloads: Fetches pictures that the provider returns as URLs.
        outgoing: The request.
        context: The caller, and the operation that gives ids to what is stored.
        relay: Takes what is sent to the caller as it comes.
    """

    prompt_field: ClassVar[str] = "prompt"

    forwarding: Forwarding
    media: MediaStore
    downloads: Downloads
    outgoing: Outgoing
    context: CallContext
    relay: Relay

    @property
    def owner(self) -> str:
        """The principal whose the media are."""
        return self.context.principal.name

    async def can_store(self) -> bool:
        """Returns whether there is a storage; without one the answer goes to the caller as it comes.

        Raises:
            NotConfigured: There is none, and the caller wants links.
            StorageUnavailable: It does not answer.
        """
        try:
            await self.media.check_reachable()
        except NotConfigured:
            if self.outgoing.wants_links:
                raise
            return False
        return True

    def origin_of(self, opened: OpenAnswer | None) -> Origin:
        """Returns where the media of an answer come from.

        Args:
            opened: The answer; None where an earlier run got it.
        """
        prompt = self.outgoing.fields.get(self.prompt_field)
        call = self.outgoing.calls[0] if opened is None else opened.call
        text = prompt if isinstance(prompt, str) else ""
        return Origin.of_tool(f"/v1/{self.outgoing.path}", call.model, text)

    def cost_of(self, count: int) -> float | None:
        """Returns the US dollars for each of some media, None where nobody knows."""
        usage = self.context.usage
        if usage.cost is None or not usage.provider_calls or not count:
            return None
        return round(usage.cost / count, USD_PLACES)


def with_media(headers: Mapping[str, str], ids: Sequence[str]) -> dict[str, str]:
    """Returns headers of an answer with the ids of its media."""
    return {**headers, MEDIA_HEADER: ",".join(ids)} if ids else dict(headers)
