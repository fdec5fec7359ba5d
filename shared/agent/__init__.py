"""The chat agent: the loop of model calls and tool calls, its input, its answer and its events."""

from shared.agent.agent import Agent
from shared.agent.events import (
    MESSAGE_DESCRIPTION,
    ChatAnswer,
    ChatCompleted,
    ChatCreated,
    ChatDelta,
    ChatEvent,
    ChatInput,
    HistoryInput,
    ToolCallRecord,
    ToolCallStarted,
    ToolFinished,
    ToolProgressed,
    fold,
)

__all__ = [
    "MESSAGE_DESCRIPTION",
    "Agent",
    "ChatAnswer",
    "ChatCompleted",
    "ChatCreated",
    "ChatDelta",
    "ChatEvent",
    "ChatInput",
    "HistoryInput",
    "ToolCallRecord",
    "ToolCallStarted",
    "ToolFinished",
    "ToolProgressed",
    "fold",
]
