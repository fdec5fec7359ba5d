"""`GET /videos`: the caller's video jobs; the route of one job belongs to its tool."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from shared.auth import Guard
from shared.routes.errors import Cursor, cursor_errors
from shared.routes.guarded_route import Context, guarded
from shared.tools import VideoJobInfo, VideoJobs


class VideoList(BaseModel):
    """Answer of `GET /videos`.

    Attributes:
        cursor: Gives the next page; null at the end.
    """

    videos: list[VideoJobInfo]
    cursor: str | None


def videos_router(jobs: VideoJobs, guard: Guard) -> APIRouter:
    """Returns the route that lists video jobs."""
    router = APIRouter(tags=["videos"], route_class=guarded(guard, "tools"))

    @router.get("/videos", name="videos_list", summary="List video jobs")
    async def list_videos(
        context: Context,
        limit: Annotated[int, Query(ge=1, le=100, description="Maximum jobs to return.")] = 20,
        cursor: Cursor | None = None,
    ) -> VideoList:
        """Lists the caller's video jobs as they were last seen, newest first.

        The provider is not asked: `GET /videos/{job_id}` asks it for one.
        """
        with cursor_errors():
            page = await jobs.list(context.principal.name, limit, cursor)
        return VideoList(videos=list(page.jobs), cursor=page.cursor)

    return router
