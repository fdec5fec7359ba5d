"""The chat agent: the loop of model calls and tool calls, its input, its answer and its events."""

from shared.agent.agent import Agent
from shared.agent.calls import stored_text
from shared.agent.events import (
    AgentAnswer,
    ChatAnswer,
    ChatCompleted,
    ChatCreated,
    ChatDelta,
    ChatEvent,
    ChatInput,
    ChatMessage,
    HistoryInput,
    ToolCallRecord,
    ToolCallStarted,
    ToolFinished,
    ToolProgressed,
    fold,
    function_name,
)

__all__ = [
    "Agent",
    "AgentAnswer",
    "ChatAnswer",
    "ChatCompleted",
    "ChatCreated",
    "ChatDelta",
    "ChatEvent",
    "ChatInput",
    "ChatMessage",
    "HistoryInput",
    "ToolCallRecord",
    "ToolCallStarted",
    "ToolFinished",
    "ToolProgressed",
    "fold",
    "function_name",
    "stored_text",
]
