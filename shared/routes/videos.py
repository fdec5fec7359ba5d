"""`GET /videos/{job_id}`: how far a video is."""

from fastapi import APIRouter, Response

from shared.auth import Guard
from shared.routes.doors import Context, guarded
from shared.routes.errors import COMMON_ERRORS
from shared.tools import ToolRegistry
from shared.tools.video_jobs import VideoJob


def videos_router(registry: ToolRegistry, guard: Guard) -> APIRouter:
    """Returns the routes of video jobs."""
    router = APIRouter(
        tags=["videos"], route_class=guarded(guard, "tools"), responses=COMMON_ERRORS
    )
    tool = registry.get("get_video")

    @router.get("/videos/{job_id}", name="video_get", response_model=VideoJob)
    async def get(job_id: str, context: Context, response: Response) -> object:
        """Returns a video job, after asking the provider once where it is time to."""
        job = await tool.call(tool.check({"job_id": job_id}), context)
        if "retry_after" in job:
            response.headers["Retry-After"] = str(job["retry_after"])
        return job

    return router
