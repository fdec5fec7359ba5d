"""Images, generated or edited.

Source: https://platform.openai.com/docs/api-reference/images
"""

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from shared.errors import ProviderUnavailable
from shared.openai_service import estimates
from shared.openai_service.answer_fields import reported_count
from shared.openai_service.client import Clients, InputFile, idempotency_headers
from shared.openai_service.metering import Consumption
from shared.openai_service.provider_config import Provider
from shared.openai_service.routing import falling_back, route
from shared.openai_service.text import repair_surrogates
from shared.settings import Capability

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import Image, ImagesResponse

DECODE_IN_THREAD_CHARS = 1024 * 1024
"""Base64 that is longer would hold up the event loop for more than some milliseconds."""


class ImageUsage(TypedDict):
    """Tokens that a provider counted for images."""

    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One call of the images API; what is None is not sent.

    Attributes:
        prompt: What to show.
        operation_id: The same for every attempt at these images.
        model: Model or deployment; None for the configured one.
        size: ``WIDTHxHEIGHT`` in pixels, or ``auto``.
        quality: From ``low`` to ``max``.
        background: ``transparent``, ``opaque`` or ``auto``.
        output_format: ``png``, ``webp``, ``jpeg``, ``gif`` or ``svg``.
        n: The number of images.
        images: Images to edit; empty to generate new ones.
        mask: An image whose transparent parts say where the first image may change.
    """

    prompt: str
    operation_id: str
    model: str | None = None
    size: str | None = None
    quality: str | None = None
    background: str | None = None
    output_format: str | None = None
    n: int | None = None
    images: Sequence[InputFile] = ()
    mask: InputFile | None = None

    def parameters(self, model: str, provider: Provider) -> dict[str, Any]:
        """Returns the keyword arguments for the SDK."""
        parameters: dict[str, Any] = {
            "prompt": self.prompt,
            "model": model,
            "size": self.size,
            "quality": self.quality,
            "background": self.background,
            "output_format": self.output_format,
            "n": self.n,
            "mask": self.mask.as_part() if self.mask else None,
            "image": [image.as_part() for image in self.images] or None,
            # GPT image models refuse the parameter and give base64 anyway; Gemini gives URLs without.
            "response_format": "b64_json" if provider is Provider.GEMINI else None,
        }
        sent = {name: value for name, value in parameters.items() if value is not None}
        return sent | {"extra_headers": idempotency_headers(self.operation_id)}


@dataclass(frozen=True, slots=True)
class GeneratedImages:
    """Images that a provider returned.

    Attributes:
        images: The bytes of each, or the URL to fetch them from.
        model: The model or deployment that was asked.
        usage: The tokens counted; None where the provider reported none.
        revised_prompt: The prompt as the provider changed it.
        consumption: What the call used; None where the provider reported no tokens.
        cost_usd: US dollars for all of them; None where nobody knows.
    """

    images: tuple[bytes | str, ...]
    model: str
    usage: ImageUsage | None
    revised_prompt: str | None
    consumption: Consumption | None
    cost_usd: float | None = None


class Images:
    """The images API of the provider that serves images."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def generate(self, request: ImageRequest) -> GeneratedImages:
        """Generates images, or edits those of the request.

        Raises:
            NotConfigured: No provider for images.
            ProviderError: The provider failed or refused.
        """
        inputs = len(request.images) + (request.mask is not None)
        estimate = estimates.of_images(
            request.prompt, request.size, request.quality, request.n or 1, inputs
        )
        for call in route(self._clients.endpoints, Capability.IMAGE, request.model):
            send = partial(_generate, request.parameters(call.model or "", call.config.provider))
            with falling_back(call):
                async with self._clients.charge(call, estimate) as charge:
                    generated = await self._clients.call(call, send, charge, repeatable=False)
                    charge.report(generated.consumption)
                return replace(generated, cost_usd=charge.cost)
        raise AssertionError("unreachable: the last call returns or raises")


async def _generate(parameters: Mapping[str, Any], api: "AsyncOpenAI") -> GeneratedImages:
    method = api.images.edit if "image" in parameters else api.images.generate
    return await _read(await method(**parameters), parameters["model"])


async def _read(answer: "ImagesResponse", model: str) -> GeneratedImages:
    rows = getattr(answer, "data", None)
    if not rows:
        raise ProviderUnavailable(
            "The provider's answer holds no images. Check its base URL, or try again."
        )
    return GeneratedImages(
        images=tuple([await _read_image(row) for row in rows]),
        model=model,
        usage=_read_usage(answer),
        revised_prompt=next(
            (repair_surrogates(row.revised_prompt) for row in rows if row.revised_prompt), None
        ),
        consumption=_consumption(answer, len(rows)),
    )


async def _read_image(row: "Image") -> bytes | str:
    if row.b64_json:
        try:
            if len(row.b64_json) > DECODE_IN_THREAD_CHARS:
                return await asyncio.to_thread(b64decode, row.b64_json)
            return b64decode(row.b64_json)
        except binascii.Error as error:
            raise ProviderUnavailable("The provider's image is not valid base64.") from error
    if row.url:
        return row.url
    raise ProviderUnavailable("The provider's answer holds an image without bytes or URL.")


def _read_usage(answer: "ImagesResponse") -> ImageUsage | None:
    usage = answer.usage
    if usage is None:
        return None
    return ImageUsage(
        input_tokens=reported_count(usage.input_tokens),
        output_tokens=reported_count(usage.output_tokens),
        total_tokens=reported_count(usage.total_tokens),
    )


def _consumption(answer: "ImagesResponse", images: int) -> Consumption | None:
    usage = answer.usage
    if usage is None:
        return None
    seen = getattr(usage, "input_tokens_details", None)
    made = getattr(usage, "output_tokens_details", None)
    given, output = reported_count(usage.input_tokens), reported_count(usage.output_tokens)
    if given is None and output is None:
        return None
    return Consumption(
        input_tokens=given,
        input_image_tokens=reported_count(getattr(seen, "image_tokens", None)),
        output_tokens=output,
        # This API makes nothing but images, and not every provider says so.
        output_image_tokens=reported_count(getattr(made, "image_tokens", None)) or output,
        images=images,
    )
