"""Image tools: a model draws or edits images, which are stored and returned as URLs."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict, Unpack

from shared.context import CallContext
from shared.errors import InvalidRequest, ProviderUnavailable
from shared.openai_service import (
    Capability,
    ImageRequest,
    ImageUsage,
    OpenAIService,
)
from shared.outbound import Downloads
from shared.parallel import gather_limited
from shared.storage import Media, MediaFormat, MediaStore, Origin, formats, keep_retrying
from shared.tools.inputs import MediaId, NotBlank, read_inputs
from shared.tools.tool import tool

MAX_PROMPT_CHARS = 32_000
MAX_IMAGES = 10
MAX_INPUT_IMAGES = 16
MAX_IMAGE_BYTES = 64 * 1024 * 1024
PARALLEL_STORES = 4

OutputFormat = Literal["png", "webp", "jpeg", "gif", "svg"]
Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARS), NotBlank]
Size = Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{1,4}x[1-9][0-9]{1,4})$")]
Quality = Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"]
Background = Literal["transparent", "opaque", "auto"]
Count = Annotated[int, Field(ge=1, le=MAX_IMAGES)]

_FORMATS: dict[str, MediaFormat] = {
    "png": formats.PNG,
    "webp": formats.WEBP,
    "jpeg": formats.JPEG,
    "gif": formats.GIF,
    "svg": formats.SVG,
}


class ImageOptions(TypedDict, total=False):
    """Arguments that all image tools take.

    Attributes:
        model: Default: the configured one.
        size: WIDTHxHEIGHT in pixels, such as 1536x1024, or auto.
        quality: Higher ones cost more.
        background: Transparent ones need png or webp.
        output_format: Default png.
        n: How many images; default 1.
    """

    model: str | None
    size: Size | None
    quality: Quality | None
    background: Background | None
    output_format: OutputFormat | None
    n: Count | None


class ImageResult(TypedDict):
    """Result of the image tools.

    Attributes:
        media: The images.
        usage: Tokens that the provider counted; null where it reported none.
        revised_prompt: The prompt as the provider changed it; null where it did not.
    """

    media: list[Media]
    model: str
    usage: ImageUsage | None
    revised_prompt: str | None


class ImageTools:
    """Tools that generate and edit images.

    Args:
        openai: The providers.
        media: Stores images, and has those to edit.
        downloads: Fetches images that a provider returns as URLs.
    """

    def __init__(self, openai: OpenAIService, media: MediaStore, downloads: Downloads) -> None:
        self._openai = openai
        self._media = media
        self._downloads = downloads

    @tool(
        title="Generate image",
        icon="image.png",
        idempotent_by_key=True,
        detached=True,
        paid=True,
        has_media=True,
        takes_long=True,
    )
    async def generate_image(
        self,
        context: CallContext,
        prompt: Prompt,
        **options: Unpack[ImageOptions],
    ) -> ImageResult:
        """Draws, paints or makes a new image, picture or illustration of what a prompt describes.

        They come back as URLs that open in a browser.

        Args:
            prompt: What to draw.
        """
        request = ImageRequest(
            prompt=prompt, operation_id=context.operation.id("provider"), **options
        )
        return await self._make("generate_image", request, context)

    @tool(
        title="Edit image",
        icon="image.png",
        idempotent_by_key=True,
        detached=True,
        paid=True,
        has_media=True,
        takes_long=True,
    )
    async def edit_image(
        self,
        context: CallContext,
        prompt: Prompt,
        images: Annotated[list[MediaId], Field(min_length=1, max_length=MAX_INPUT_IMAGES)],
        mask: MediaId | None = None,
        **options: Unpack[ImageOptions],
    ) -> ImageResult:
        """Edits or combines stored images, given by their media ids.

        The originals stay; the new images are stored and come back as URLs.

        Args:
            prompt: What to show.
            images: Media ids of the images to start from.
            mask: Media id of an image that is transparent where the first may change.
        """
        named = [(f"images.{index}", each) for index, each in enumerate(images)]
        files = await read_inputs(
            self._media,
            context.principal.name,
            [*named, ("mask", mask)] if mask else named,
            ("image",),
        )
        request = ImageRequest(
            prompt=prompt,
            operation_id=context.operation.id("provider"),
            images=files[: len(images)],
            mask=files[len(images)] if mask else None,
            **options,
        )
        return await self._make("edit_image", request, context)

    async def _make(
        self, tool_name: str, request: ImageRequest, context: CallContext
    ) -> ImageResult:
        if request.background == "transparent" and request.output_format not in (
            None,
            "png",
            "webp",
        ):
            raise InvalidRequest.for_field("background", "a transparent one needs png or webp")
        count = request.n or 1
        steps = count + 1
        if context.operation.is_repeat and (
            stored := await self._recover(tool_name, request, context)
        ):
            return stored
        await self._media.check_reachable()
        await context.report_progress(0, steps, "Waiting for the model")
        made = await self._openai.images.generate(request)
        await context.report_progress(1, steps, f"Storing {len(made.images)} of {count} images")
        each_usd = None if made.cost_usd is None else made.cost_usd / len(made.images)
        origin = Origin.of_tool(tool_name, made.model, request.prompt, each_usd)
        stored_images = 0

        async def store(index: int, image: bytes | str) -> Media:
            nonlocal stored_images
            media = await self._store(index, image, origin, context)
            stored_images += 1
            await context.report_progress(
                1 + stored_images, steps, f"Stored image {stored_images} of {len(made.images)}"
            )
            return media

        media = await gather_limited(
            PARALLEL_STORES, [store(index, image) for index, image in enumerate(made.images)]
        )
        return ImageResult(
            media=media, model=made.model, usage=made.usage, revised_prompt=made.revised_prompt
        )

    async def _store(
        self, index: int, image: bytes | str, origin: Origin, context: CallContext
    ) -> Media:
        data = image if isinstance(image, bytes) else await self._fetch(image, context)
        found = formats.sniff(data[: formats.HEAD_BYTES])
        if found is None or found.kind != "image":
            raise ProviderUnavailable("The provider's answer holds an image in no known format.")
        owner = context.principal.name
        media_id = context.operation.id(f"image {index}")
        with keep_retrying():
            record = await self._media.save(owner, media_id, data, found, origin)
        context.keep_media(media_id, data)
        return await self._media.present(record)

    async def _fetch(self, url: str, context: CallContext) -> bytes:
        async with self._downloads.open(url, max_bytes=MAX_IMAGE_BYTES) as download:
            return b"".join([chunk async for chunk in download.chunks])

    async def _recover(
        self, tool_name: str, request: ImageRequest, context: CallContext
    ) -> ImageResult | None:
        """Returns what an earlier run stored before it died, if it stored everything."""
        wanted = _FORMATS.get(request.output_format or "png", formats.PNG)
        model = self._openai.choose_model(Capability.IMAGE, request.model)
        origin = Origin.of_tool(tool_name, model, request.prompt)
        media: list[Media] = []
        for index in range(request.n or 1):
            media_id = context.operation.id(f"image {index}")
            stored = await self._media.stored_format(media_id, formats.similar(wanted))
            if stored is None:
                return None
            record = await self._media.save(context.principal.name, media_id, None, stored, origin)
            media.append(await self._media.present(record))
        return ImageResult(media=media, model=model, usage=None, revised_prompt=None)
