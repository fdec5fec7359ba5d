"""Tools: the registry that derives their three doors, and one module for each family of them."""

from shared.tools.claims import Claims
from shared.tools.clock import ClockTools
from shared.tools.images import ImageTools
from shared.tools.inputs import NotBlank
from shared.tools.models import ModelTools
from shared.tools.registry import ToolRegistry
from shared.tools.speech import SpeechTools
from shared.tools.streams import peek
from shared.tools.tasks import TaskTools
from shared.tools.text import MaxTokens, ReasoningEffort, Temperature, TextTools
from shared.tools.tool import GetRoute, Job, Tool, ToolResource, tool
from shared.tools.toolset import CONNECTION_SEPARATOR, JsonObject, ToolResult, Toolset, ToolSpec
from shared.tools.video import VideoCopies, VideoJobInfo, VideoJobs, VideoTools

__all__ = [
    "CONNECTION_SEPARATOR",
    "Claims",
    "ClockTools",
    "GetRoute",
    "ImageTools",
    "Job",
    "JsonObject",
    "MaxTokens",
    "ModelTools",
    "NotBlank",
    "ReasoningEffort",
    "SpeechTools",
    "TaskTools",
    "Temperature",
    "TextTools",
    "Tool",
    "ToolRegistry",
    "ToolResource",
    "ToolResult",
    "ToolSpec",
    "Toolset",
    "VideoCopies",
    "VideoJobInfo",
    "VideoJobs",
    "VideoTools",
    "peek",
    "tool",
]
