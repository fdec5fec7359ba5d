"""OpenAI, Azure OpenAI and compatible providers, called by capability."""

from shared.openai_service.audio import SpeechRequest, TranscriptionRequest
from shared.openai_service.client import InputFile
from shared.openai_service.completions import (
    Completion,
    CompletionRequest,
    CompletionStream,
    Message,
    ToolCall,
    Usage,
    json_schema_format,
    sum_usage,
)
from shared.openai_service.endpoint import Endpoint
from shared.openai_service.images import GeneratedImages, ImageRequest, ImageUsage
from shared.openai_service.metering import (
    NOTHING,
    Consumption,
    Meter,
    MeteredCall,
    Reservation,
    Settlement,
)
from shared.openai_service.provider_config import Provider
from shared.openai_service.realtime import speaks_over_realtime
from shared.openai_service.service import OpenAIService
from shared.openai_service.shutdowns import announced_shutdown, days_until, shutdown_warning
from shared.openai_service.text import repair_surrogates
from shared.openai_service.videos import ProviderVideo, VideoRequest, VideoStatus
from shared.settings import Capability

__all__ = [
    "NOTHING",
    "Capability",
    "Completion",
    "CompletionRequest",
    "CompletionStream",
    "Consumption",
    "Endpoint",
    "GeneratedImages",
    "ImageRequest",
    "ImageUsage",
    "InputFile",
    "Message",
    "Meter",
    "MeteredCall",
    "OpenAIService",
    "Provider",
    "ProviderVideo",
    "Reservation",
    "Settlement",
    "SpeechRequest",
    "ToolCall",
    "TranscriptionRequest",
    "Usage",
    "VideoRequest",
    "VideoStatus",
    "announced_shutdown",
    "days_until",
    "json_schema_format",
    "repair_surrogates",
    "shutdown_warning",
    "speaks_over_realtime",
    "sum_usage",
]
