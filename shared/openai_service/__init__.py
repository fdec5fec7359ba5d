"""OpenAI, Azure OpenAI and compatible providers behind one door."""

from shared.openai_service.characters import whole_characters
from shared.openai_service.completions import (
    Completion,
    CompletionRequest,
    CompletionStream,
    Message,
    ToolCall,
    Usage,
    sum_usage,
)
from shared.openai_service.endpoints import Endpoint, Provider
from shared.openai_service.files import InputFile
from shared.openai_service.images import GeneratedImages, ImageRequest, ImageUsage
from shared.openai_service.service import OpenAIService
from shared.openai_service.speech import SpeechRequest
from shared.openai_service.transcriptions import TranscriptionRequest
from shared.openai_service.videos import ProviderVideo, VideoRequest, VideoStatus
from shared.settings import Capability

__all__ = [
    "Capability",
    "Completion",
    "CompletionRequest",
    "CompletionStream",
    "Endpoint",
    "GeneratedImages",
    "ImageRequest",
    "ImageUsage",
    "InputFile",
    "Message",
    "OpenAIService",
    "Provider",
    "ProviderVideo",
    "SpeechRequest",
    "ToolCall",
    "TranscriptionRequest",
    "Usage",
    "VideoRequest",
    "VideoStatus",
    "sum_usage",
    "whole_characters",
]
