"""The chat agent: the loop, its events, and the tools it offers the model."""

from shared.agent.chats import Chats
from shared.agent.events import ChatAnswer, ChatCompleted, ChatEvent, ToolCallRecord, fold
from shared.agent.loop import Agent, ChatTurn

__all__ = [
    "Agent",
    "ChatAnswer",
    "ChatCompleted",
    "ChatEvent",
    "ChatTurn",
    "Chats",
    "ToolCallRecord",
    "fold",
]
