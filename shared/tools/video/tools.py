"""Video tools: start a video job, and ask for its progress."""

from typing import Annotated

from pydantic import Field

from shared.context import CallContext
from shared.openai_service import Capability, OpenAIService, VideoRequest
from shared.storage import MediaStore, Origin
from shared.tools.inputs import MediaId, NotBlank, read_inputs
from shared.tools.tool import GetRoute, Job, tool
from shared.tools.video.jobs import VideoJob, VideoJobs

MAX_PROMPT_CHARS = 32_000

Size = Annotated[str, Field(pattern=r"^[1-9][0-9]{1,4}x[1-9][0-9]{1,4}$")]


class VideoTools:
    """Tools that make videos.

    Args:
        openai: The providers.
        media: Has the images to begin with.
        jobs: The video jobs.
    """

    def __init__(self, openai: OpenAIService, media: MediaStore, jobs: VideoJobs) -> None:
        self._openai = openai
        self._media = media
        self._jobs = jobs

    @tool(
        title="Generate video",
        icon="video.png",
        idempotent_by_key=True,
        detached=True,
        paid=True,
        has_media=True,
        takes_long=True,
        job=Job("/videos/{id}", tool="get_video"),
    )
    async def generate_video(
        self,
        context: CallContext,
        prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARS), NotBlank],
        seconds: Annotated[int, Field(ge=1, le=120)] | None = None,
        size: Size | None = None,
        model: str | None = None,
        image: MediaId | None = None,
    ) -> VideoJob:
        """Orders a new video, clip or film of what a prompt describes, and returns its job.

        Making it takes minutes: ask get_video with the job's id, not before retry_after seconds.

        Args:
            prompt: What to show.
            seconds: How long; models allow certain lengths only.
            size: WIDTHxHEIGHT in pixels, such as 1280x720.
            model: Default: the configured one.
            image: Media id of an image to begin with.
        """
        chosen = self._openai.choose_model(Capability.VIDEO, model)
        job_id = context.operation.id("job")
        if context.operation.is_repeat and (job := await self._jobs.find(job_id, context)):
            return job
        first = None
        if image is not None:
            owner = context.principal.name
            [first] = await read_inputs(self._media, owner, [("image", image)], ("image",))
        await context.report_progress(0, 1, "Ordering the video")
        request = VideoRequest(
            prompt=prompt,
            operation_id=context.operation.id("provider"),
            seconds=seconds,
            size=size,
            model=model,
            image=first,
        )
        origin = Origin.of_tool("generate_video", chosen, prompt)
        job = await self._jobs.create(job_id, request, origin, context)
        await context.report_progress(1, 1, "Ordered; ask get_video how far it is")
        return job

    @tool(
        title="Get video",
        icon="video.png",
        idempotent=True,
        detached=True,
        has_media=True,
        get_route=GetRoute("/videos/{job_id}", name="video_get", tag="videos"),
    )
    async def get_video(
        self, context: CallContext, job_id: Annotated[str, Field(min_length=1, max_length=100)]
    ) -> VideoJob:
        """Tells how far a video job is; when it is completed, the result has the video's URL.

        Args:
            job_id: Id from generate_video.
        """
        return await self._jobs.advance(job_id, context)
