"""What a provider call consumes, and the protocol that reserves and settles it.

Every call that is paid for runs in `Clients.charge`, which asks the meter before the provider is asked
and tells it afterwards what was used. `shared.usage` implements the meter.
"""

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from shared.openai_service.provider_config import Provider
from shared.settings import Capability


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumption:
    """What one call used, or is estimated to use; None is what nobody reported.

    Attributes:
        input_tokens: Input tokens, with the cached ones and those of audio and images.
        cached_tokens: Input tokens that the provider had cached.
        output_tokens: Output tokens, with those for reasoning.
        reasoning_tokens: Output tokens for reasoning.
        input_audio_tokens: Input tokens of audio.
        input_image_tokens: Input tokens of images.
        output_image_tokens: Output tokens of images.
        output_audio_tokens: Output tokens of audio.
        images: Images made.
        seconds: Seconds of audio heard or of video made.
        characters: Characters spoken.
    """

    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    output_image_tokens: int | None = None
    output_audio_tokens: int | None = None
    images: int | None = None
    seconds: float | None = None
    characters: int | None = None

    @property
    def tokens(self) -> int:
        """Input and output tokens together, as limits count them."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)


NOTHING = Consumption()
"""What a call used that failed before any output."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture that a call of another model may have drawn, by a tool that the provider runs itself.

    Attributes:
        model: The model that draws; None for the one that the settings name for pictures.
        estimate: What that uses at most.
    """

    model: str | None
    estimate: Consumption


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredCall:
    """A call of a provider as the ledger knows it.

    Attributes:
        capability: What the provider is asked for.
        provider: The kind of provider.
        label: What records call it.
        base_url: Where it is.
        model: The model or deployment that is asked.
        known_model: The model behind a deployment, where the settings name it.
        estimate: What the call is expected to use at most.
        picture: The call of the model that draws for this one; None where none may draw.
    """

    capability: Capability
    provider: Provider
    label: str
    base_url: str
    model: str
    known_model: str | None
    estimate: Consumption
    picture: "MeteredCall | None" = None

    @property
    def estimated_tokens(self) -> int:
        """Input and output tokens that the call is expected to use, with those of a picture."""
        drawn = self.picture.estimate.tokens if self.picture else 0
        return self.estimate.tokens + drawn

    @property
    def operation_name(self) -> str:
        """The operation by the names of OpenTelemetry's conventions."""
        return "chat" if self.capability is Capability.CHAT else "generate_content"

    @property
    def host(self) -> str | None:
        """Host of the provider."""
        return urlsplit(self.base_url).hostname


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How a call of a provider ended.

    Attributes:
        consumption: What it used; None where that is not known and the estimate stands.
        model: The model that answered; None where that is not known.
        status: ``ok``, or the code of the error.
        attempts: Requests that were sent, with our retries.
        was_reached: Whether any of them reached the provider.
        seconds: How long the call took.
    """

    consumption: Consumption | None
    model: str | None
    status: str
    attempts: int
    was_reached: bool
    seconds: float


class Reservation(Protocol):
    """A call that was let through and is not settled yet."""

    @property
    def reference(self) -> str | None:
        """Names the record of the call for `Meter.refund`; None where none is kept."""
        ...

    @property
    def cost(self) -> float | None:
        """US dollars: what the call is estimated to cost, then what it cost; None where nobody knows."""
        ...

    def settle(self, settlement: Settlement) -> None:
        """Notes how the call ended; nothing waits for it to be stored."""
        ...


class Meter(Protocol):
    """Lets calls through, or refuses those for which a limit is reached."""

    async def reserve(self, call: MeteredCall) -> Reservation:
        """Reserves what a call is estimated to use, before the provider is asked.

        Raises:
            LimitReached: A limit of the caller is reached.
            PriceUnknown: The caller's dollars are limited, and nobody knows what the call costs.
            StorageUnavailable: A limit applies, and cannot be counted.
        """
        ...

    async def refund(self, principal: str, reference: str) -> None:
        """Settles at nothing what was paid for in advance and failed later, such as a video.

        Args:
            principal: Whose call it was.
            reference: Of its reservation.
        """
        ...
