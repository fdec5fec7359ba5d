"""The chat agent: the loop of model calls and tool calls, its input, its answer and its events."""

from shared.agent.agent import Agent
from shared.agent.events import (
    ChatAnswer,
    ChatCompleted,
    ChatEvent,
    ChatInput,
    MessageText,
    ToolCallRecord,
    fold,
)

__all__ = [
    "Agent",
    "ChatAnswer",
    "ChatCompleted",
    "ChatEvent",
    "ChatInput",
    "MessageText",
    "ToolCallRecord",
    "fold",
]
