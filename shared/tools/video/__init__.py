"""Videos: the tools that start jobs and poll them, and the jobs themselves."""

from shared.tools.video.copies import VideoCopies
from shared.tools.video.jobs import VideoJobInfo, VideoJobs
from shared.tools.video.tools import VideoTools

__all__ = ["VideoCopies", "VideoJobInfo", "VideoJobs", "VideoTools"]
