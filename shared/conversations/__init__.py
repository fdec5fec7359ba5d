"""Conversations: typed lines in a log that is its own lease, written, read and listed."""

from shared.conversations.lines import (
    AssistantLine,
    EndLine,
    Line,
    ToolLine,
    UserLine,
)
from shared.conversations.runs import FoundLog, OpenRun, RunWriter
from shared.conversations.store import ConversationStore
from shared.conversations.view import Conversation, ConversationList

__all__ = [
    "AssistantLine",
    "Conversation",
    "ConversationList",
    "ConversationStore",
    "EndLine",
    "FoundLog",
    "Line",
    "OpenRun",
    "RunWriter",
    "ToolLine",
    "UserLine",
]
