"""Videos: the tools that order them and ask for them, and the jobs behind."""

from shared.tools.video.copies import VideoCopies
from shared.tools.video.jobs import VideoJobInfo, VideoJobs
from shared.tools.video.tools import VideoTools

__all__ = ["VideoCopies", "VideoJobInfo", "VideoJobs", "VideoTools"]
