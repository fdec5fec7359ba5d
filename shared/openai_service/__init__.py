"""OpenAI, Azure OpenAI and compatible providers behind one door."""

from shared.openai_service.completions import (
    Completion,
    CompletionRequest,
    CompletionStream,
    Message,
    ToolCall,
    Usage,
    sum_usage,
)
from shared.openai_service.endpoints import Capability, Endpoint, Provider
from shared.openai_service.service import OpenAIService

__all__ = [
    "Capability",
    "Completion",
    "CompletionRequest",
    "CompletionStream",
    "Endpoint",
    "Message",
    "OpenAIService",
    "Provider",
    "ToolCall",
    "Usage",
    "sum_usage",
]
